"""Where a replica finds its region's state, and what each namespace promises there.

Whoever starts a region's replicas (the warden on one machine) writes one such file, readable by its owner alone, and
passes its path in the environment. It is replaced when another topology is taken up.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from atoll.topology import Backend, Behind, DataType, Durability, Level, Topology
from atoll.topology.wiring import (
    Address,
    StoreAccess,
    TlsFiles,
    WiringError,
    check_private,
    write_private,
)

STATE_VARIABLE = "ATOLL_STATE"
"""The environment variable that holds the file's path."""


@dataclass(frozen=True, slots=True)
class NamespaceWiring:
    """One namespace, as a region's replicas need to know it. Fields are those of `atoll.topology.Namespace`."""

    level: Level
    types: tuple[DataType, ...]
    durability: Durability
    holders: tuple[str, ...]
    """Regions that may hold its data; without the own one there is none of it here."""
    behind: Behind | None = None
    max_staleness_s: float | None = None
    backend: Backend | None = None
    acceptors: tuple[str, ...] = ()
    etcd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StateWiring:
    """Everything that a replica's state and cache begin with. Files hold secrets, readable by their owner alone."""

    region: str
    zone: str
    cache: StoreAccess
    state: StoreAccess
    agent: Address
    agent_token_file: Path
    session_key_file: Path
    namespaces: Mapping[str, NamespaceWiring]
    """Every namespace of the topology, those whose data is not here included."""
    revision: int
    digest: str
    """Of the topology that says so."""
    tls: TlsFiles | None = None
    """For the way to the agent; None on one machine alone."""


_WIRING = TypeAdapter(StateWiring)


def wire_namespaces(topology: Topology) -> dict[str, NamespaceWiring]:
    """Every namespace of a topology by its name. Pure."""
    return {
        name: NamespaceWiring(
            level=namespace.level,
            types=namespace.types,
            durability=namespace.durability,
            holders=topology.holders(name),
            behind=namespace.behind,
            max_staleness_s=namespace.max_staleness_s,
            backend=namespace.backend,
            acceptors=namespace.acceptors,
            etcd=namespace.etcd,
        )
        for name, namespace in topology.namespaces.items()
    }


def read_state_wiring(path: Path) -> StateWiring:
    """Reads a region's state wiring. Raises `WiringError` if the file is missing, not of this form, or not safe."""
    try:
        wiring = _WIRING.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WiringError(f"{path} is no state wiring: {error}; start regions with `atoll up`") from error
    check_private(wiring.tls, f"{wiring.region}/replica", (wiring.agent,))
    return wiring


def write_state_wiring(path: Path, wiring: StateWiring) -> None:
    """Writes a region's state wiring, whole or not at all, readable by its owner alone."""
    write_private(path, _WIRING.dump_json(wiring, indent=1))


def state_wiring_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The path from `ATOLL_STATE`; None outside a cell."""
    path = environment.get(STATE_VARIABLE)
    return Path(path) if path else None
