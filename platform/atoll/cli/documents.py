"""The documents that `--json` prints and that `atoll topology import` reads, and their JSON Schemas in `schemas/`.

`python -m atoll.cli.documents` writes the schemas; a test sees to it that they are up to date.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from atoll.cell.status import RUN_STATUS
from atoll.cli.state_documents import STATE_DOCUMENTS
from atoll.routing import EXPLAIN
from atoll.simulate.report import SIMULATION, SIMULATIONS
from atoll.topology.deployment import DEPLOYMENT
from loadtests.drills.report import DRILL

FOLDER = Path(__file__).with_name("schemas")

DOCUMENTS: Mapping[str, TypeAdapter[Any]] = MappingProxyType(
    {
        "atoll.deployment/1": DEPLOYMENT,
        "atoll.drill/1": DRILL,
        "atoll.explain/1": EXPLAIN,
        "atoll.simulation/1": SIMULATION,
        "atoll.simulations/1": SIMULATIONS,
        "atoll.status/1": RUN_STATUS,
        **STATE_DOCUMENTS,
    }
)
"""Name (the value of the document's ``schema``) -> what writes or reads it."""


def schema_file(name: str) -> Path:
    """``atoll.status/1`` -> ``schemas/status.1.json``."""
    return FOLDER / (name.removeprefix("atoll.").replace("/", ".") + ".json")


def schema_text(name: str) -> str:
    """The JSON Schema of a document as it is printed: every key is there, and ``schema`` says which one it is."""
    schema = _without_titles(DOCUMENTS[name].json_schema(mode="serialization"))
    for part in (schema, *schema.get("$defs", {}).values()):
        if "properties" in part:
            part["required"] = list(part["properties"])
            part["additionalProperties"] = False
    schema["properties"]["schema"] = {"const": name}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name}
    return json.dumps(head | schema, indent=2) + "\n"


def _without_titles(part: Any) -> Any:
    """Pydantic repeats every name as a title. A property that is named so is no text, and stays."""
    match part:
        case dict():
            return {
                key: _without_titles(value)
                for key, value in part.items()
                if not (key == "title" and isinstance(value, str))
            }
        case list():
            return [_without_titles(value) for value in part]
    return part


def write_schemas() -> None:
    """Writes every schema, and removes those of documents that are no more."""
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for name in DOCUMENTS:
        schema_file(name).write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    write_schemas()
