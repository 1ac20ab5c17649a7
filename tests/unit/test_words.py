"""What is said in prose is checked where it can be."""

import re
from pathlib import Path

from atoll.topology.document import TopologyDocument

ROOT = Path(__file__).parents[2]


def test_every_key_of_a_topology_is_in_its_table() -> None:
    table = (ROOT / "infra" / "topologies" / "README.md").read_text()
    schema = TopologyDocument.model_json_schema(by_alias=True)
    keys = {name for model in schema["$defs"].values() for name in model.get("properties", {})}
    keys |= set(schema["properties"]) - {"zones", "regions", "links", "services"}
    words = set(re.findall(r"[a-z_]+", table))
    assert keys <= words, f"not told of: {sorted(keys - words)}"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("infra/**/*.md"), *ROOT.glob("services/**/*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
