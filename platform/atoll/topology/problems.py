"""What is wrong with a topology file, in words that say where, what, and what would be right."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from atoll.topology.document import TopologyDocument


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the key, the value found there, and what would be right."""

    key: str
    value: str
    remedy: str

    def __str__(self) -> str:
        found = f" is {self.value}" if self.value else ""
        return f"{self.key}{found}: {self.remedy}"


class TopologyError(Exception):
    """A topology file that can't be used; `problems` holds everything that is wrong with it, not just the first."""

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{path}: {count}, nothing was changed{lines}")


def unknown(key: str, value: str, kind: str, known: Iterable[str]) -> Problem:
    """A name that refers to nothing, with the nearest one that would."""
    names = sorted(known)
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return Problem(key, repr(value), f"no such {kind}; {hint}known: {', '.join(names) or 'none'}")


def from_validation(error: ValidationError, document: type[BaseModel] = TopologyDocument) -> list[Problem]:
    """Pydantic's findings about a file of this shape, in Atoll's form."""
    return [_problem(details, document) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, document: type[BaseModel]) -> Problem:
    location = [str(part) for part in details["loc"] if part != "[key]"]
    key = ".".join(location) or "(file)"
    match details["type"]:
        case "missing":
            return Problem(key, "missing", "add it")
        case "extra_forbidden":
            siblings = _keys_at(details["loc"][:-1], document)
            near = difflib.get_close_matches(location[-1], siblings, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            return Problem(key, "unknown", f"{hint}keys allowed here: {', '.join(siblings)}")
        case "string_pattern_mismatch":
            pattern = details.get("ctx", {}).get("pattern", "")
            return Problem(key, repr(details["input"]), f"must match {pattern}")
        case _:
            message = details["msg"].removeprefix("Value error, ")
            return Problem(key, _short(details["input"]), message[:1].lower() + message[1:])


def _keys_at(location: Sequence[str | int], document: type[BaseModel]) -> list[str]:
    """The keys that the schema allows at a place in the file, so that a typing error can name the right one."""
    schema = document.model_json_schema(by_alias=True)
    node: dict[str, object] = schema
    for part in location:
        node = _step(schema, node, part)
    properties = node.get("properties")
    return sorted(properties) if isinstance(properties, dict) else []


def _step(schema: dict[str, object], node: dict[str, object], part: str | int) -> dict[str, object]:
    properties = node.get("properties")
    if isinstance(part, int):
        child = node.get("items")
    elif isinstance(properties, dict) and part in properties:
        child = properties[part]
    else:
        child = node.get("additionalProperties") or node.get("patternProperties")
        if isinstance(child, dict) and "$ref" not in child and len(child) == 1:
            child = next(iter(child.values()))
    if isinstance(child, dict) and isinstance(child.get("$ref"), str):
        definitions = schema.get("$defs")
        name = str(child["$ref"]).rsplit("/", 1)[-1]
        child = definitions.get(name) if isinstance(definitions, dict) else None
    return child if isinstance(child, dict) else {}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
