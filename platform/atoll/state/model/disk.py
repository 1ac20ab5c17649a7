"""What a store keeps on its disk."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from atoll.state.kind import Kind
from atoll.state.model.cells import Cells
from atoll.state.model.log import Log
from atoll.state.stamp import ZERO, Stamp
from atoll.state.store import Ack, Conflict, PeerState, SessionWaits
from atoll.state.vector import NOTHING, Actor, Vector

KEPT: Final = 1000
"""How many conflicts and acknowledgements are kept."""


@dataclass(slots=True)
class Disk:
    """All of it."""

    region: str = ""
    identity: str = ""
    actor: Actor = ""
    seq: int = 0
    stamp: Stamp = ZERO
    complete: bool = False
    lost: bool = False
    refused: str = ""
    vector: Vector = NOTHING
    peers: dict[str, PeerState] = field(default_factory=dict)
    cells: Cells = field(default_factory=Cells)
    log: Log = field(default_factory=Log)
    acks: deque[tuple[int, Ack]] = field(default_factory=lambda: deque(maxlen=KEPT))
    acked: int = 0
    """Acknowledgements noted ever."""
    conflicts: deque[Conflict] = field(default_factory=lambda: deque(maxlen=KEPT))
    conflicting: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    sessions: SessionWaits = field(default_factory=SessionWaits)

    def copy(self) -> "Disk":
        return Disk(
            self.region,
            self.identity,
            self.actor,
            self.seq,
            self.stamp,
            self.complete,
            self.lost,
            self.refused,
            self.vector,
            dict(self.peers),
            self.cells.copy(),
            self.log.copy(),
            self.acks.copy(),
            self.acked,
            self.conflicts.copy(),
            self.conflicting.copy(),
            self.counts.copy(),
            self.sessions,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a store's disk; only `ModelStore.restore` looks into it."""

    state: Disk
