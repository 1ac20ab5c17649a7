"""What is said in prose is checked where it can be."""

import re
from pathlib import Path

from pydantic import BaseModel

from atoll.node.config import NodeDocument, PortsDocument
from atoll.topology.document import ServiceDocument, TopologyDocument

ROOT = Path(__file__).parents[2]


def test_every_key_of_a_topology_is_in_its_table() -> None:
    table = (ROOT / "infra" / "topologies" / "README.md").read_text()
    schema = TopologyDocument.model_json_schema(by_alias=True)
    keys = {name for model in schema["$defs"].values() for name in model.get("properties", {})}
    keys |= set(schema["properties"]) - {"zones", "regions", "links", "services"}
    words = set(re.findall(r"[a-z_]+", table))
    assert keys <= words, f"not told of: {sorted(keys - words)}"


def test_every_key_of_a_machine_s_file_is_on_its_page() -> None:
    page = (ROOT / "platform" / "atoll" / "node" / "README.md").read_text()
    ports = PortsDocument.model_fields
    shown = {name for name, field in ports.items() if field.default not in range(8266, 8273)}
    words = set(re.findall(r"[a-z_]+", page))
    assert (NodeDocument.model_json_schema(by_alias=True)["properties"].keys() | shown) <= words
    for name in shown:
        assert str(ports[name].default) in page, name


def test_the_gateways_table_tells_the_defaults_as_they_are() -> None:
    table = (ROOT / "gateway" / "README.md").read_text()
    told = dict(re.findall(r"^\| `([a-zS._]+)` \| ([^|]+?) \|", table, flags=re.MULTILINE))
    policies = ("health", "routing", "retry", "hedge", "breaker", "outlier", "bulkhead", "gateway")
    for policy in policies:
        model = TopologyDocument.model_fields[policy].annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)
        for name, field in model.model_fields.items():
            assert told[f"{policy}.{name}"] == _toml(field.default), f"{policy}.{name}"
    for key, value in told.items():
        if key.startswith("services.S.") and value != "none":
            assert value == _toml(ServiceDocument.model_fields[key.split(".")[2]].default), key


def _toml(value: object) -> str:
    text = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    return text or (f'`"{value}"`' if isinstance(value, str) else str(value))


def test_links_between_pages_lead_somewhere() -> None:
    pages = [
        ROOT / "README.md",
        *ROOT.glob("infra/**/*.md"),
        *ROOT.glob("services/**/*.md"),
        *ROOT.glob("gateway/*.md"),
        *ROOT.glob("platform/**/*.md"),
    ]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
