"""What a cache stands on: where values come from, and what it must know of the reader."""

from dataclasses import dataclass
from typing import Protocol

from atoll.state.vector import NOTHING, Dot, Vector


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load brought."""

    value: bytes | None
    """None: there is none."""
    dot: Dot | None
    """The write that made it; None if nothing says."""
    vector: Vector
    """What the region's state had seen when the value was read, or less. More would let an old value pass a floor."""
    left_s: float | None = None
    """How long the value may be shown at all; None: no such limit."""


class Source(Protocol):
    """A namespace of the state, as a cache sees it."""

    @property
    def name(self) -> str:
        """The namespace's name."""
        ...

    async def load(self, key: str) -> Loaded:
        """Reads the region's own state: the vector first, or both in one step."""
        ...

    async def store(self, key: str, value: bytes | None) -> Dot:
        """Writes the value (None: removes it), and answers the dot of the write."""
        ...


class Session(Protocol):
    """The session of the reader that runs now."""

    async def needs(self, *namespaces: str) -> Vector:
        """What the reader of these has read and written: it must see nothing older.

        Raises what the state raises if its region may not answer for one of them now.
        """
        ...

    def saw(self, namespace: str, dot: Dot) -> None:
        """The reader has been given a value that this write made, or has written."""
        ...


class NoSession:
    """A reader without one may see anything."""

    __slots__ = ()

    async def needs(self, *namespaces: str) -> Vector:
        return NOTHING

    def saw(self, namespace: str, dot: Dot) -> None: ...
