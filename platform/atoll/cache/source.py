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

    def needs(self) -> Vector:
        """What the reader has read and written: it must see nothing older."""
        ...

    def saw(self, dot: Dot) -> None:
        """The reader has been given a value that this write made, or has written."""
        ...


class NoSession:
    """A reader without one may see anything."""

    __slots__ = ()

    def needs(self) -> Vector:
        return NOTHING

    def saw(self, dot: Dot) -> None: ...
