"""Mechanisms that gateways can be told to do without, to see that a drill notices: a topology, changed.

Every value is one that a topology file may have; nothing in a gateway knows of drills.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any

NEVER = 1_000_000_000

Document = dict[str, Any]


def _set(table: str, **values: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document.setdefault(table, {}).update(values)

    return change


def _without_retries(document: Document) -> None:
    for service in document.get("services", {}).values():
        service["max_attempts"] = 1
    _set("hedge", enabled=False)(document)


MECHANISMS: Mapping[str, Callable[[Document], None]] = MappingProxyType(
    {
        "failover": _set("routing", failover=False),
        "retries": _without_retries,
        "budget": _set("retry", ratio=1.0, floor_per_s=1000.0),
        "ejection": _set("outlier", consecutive=NEVER, failure_rate=1.0, minimum=NEVER, stall="24h"),
        "shedding": _set(
            "bulkhead", waiting=NEVER, wait="60s", sheddable_share=1.0, default_share=1.0, floor=NEVER
        ),
    }
)
"""Name -> what turns it off in the document of a topology. Without failover a request is tried in the nearest region
alone, whatever is known of it; without retries once; without a budget as often as `max_attempts` says; without ejection
a replica that fails goes on getting its share; without shedding nothing is turned away.
"""


def without(document: Mapping[str, Any], mechanisms: Iterable[str]) -> str:
    """A topology file's text, changed so that these are turned off. `document` is the file's, and sound. Pure."""
    changed = deepcopy(dict(document))
    for mechanism in mechanisms:
        MECHANISMS[mechanism](changed)
    return "".join(_table("", changed))


def _table(path: str, table: Mapping[str, Any]) -> Iterable[str]:
    """TOML. Strings and numbers of JSON are TOML's too (toml.io, "String"); a table's own keys come first."""
    inner = {key: value for key, value in table.items() if _is_table(value)}
    for key, value in table.items():
        if key not in inner:
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}\n"
    for key, value in inner.items():
        name = f"{path}{key}"
        for one, head in (
            [(value, f"[{name}]")] if isinstance(value, Mapping) else [(v, f"[[{name}]]") for v in value]
        ):
            yield f"\n{head}\n"
            yield from _table(f"{name}.", one)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)
    )
