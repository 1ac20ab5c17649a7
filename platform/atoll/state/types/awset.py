"""The add-wins set: for each element, the dots of the additions that no removal has seen.

    <dot>,<dot>,...,-<dot>,...      one element: live dots, then removed ones; any order within each

A removal names the dots that it saw and no others, so an addition that it didn't see stays. No tombstone is needed: a
dot that the store's vector covers and the element lacks was removed. Only where a removal comes before the addition
that it removes (from another actor), the dot is remembered as removed; it can be dropped once the vector covers it.
(Bieniusa et al., "An optimized conflict-free replicated set", 2012.)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from atoll.state.vector import Dot, Vector


@dataclass(frozen=True, slots=True)
class Dots:
    """One element. It is in the set if it has a live dot."""

    live: frozenset[Dot] = frozenset()
    removed: frozenset[Dot] = frozenset()
    """Dots that must not come alive: their removal is known, and the store may still hear of their addition."""

    def __bool__(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self.live or self.removed)


EMPTY: Final = Dots()


def operate(ours: Dots, known: Vector, added: Dot | None, removed: Iterable[Dot]) -> Dots:
    """Applies one operation: removes the dots that it saw, and adds its own, if it adds.

    `known` is the store's vector before the operation. A removed dot that it covers is simply gone.
    """
    gone = frozenset(removed)
    live = ours.live - gone
    pending = ours.removed | {dot for dot in gone if not known.covers(dot)}
    if added is not None and added not in pending:
        live |= {added}
    return Dots(live, pending)


def merge(ours: Dots, known: Vector, theirs: Dots) -> Dots:
    """Joins a peer's element: its live dots, but for those that this store knows and doesn't have.

    `known` is this store's vector. What the peer knew and removed is not looked at here; see `settle`.
    """
    coming = {dot for dot in theirs.live if not known.covers(dot)}
    pending = ours.removed | {dot for dot in theirs.removed if not known.covers(dot)}
    return Dots((ours.live | coming) - pending - theirs.removed, pending)


def settle(ours: Dots, theirs: Dots, peer: Vector) -> Dots:
    """Removes the live dots that the peer knows and doesn't have. `peer` is its vector as of `theirs`."""
    return Dots(
        frozenset(dot for dot in ours.live if dot in theirs.live or not peer.covers(dot)), ours.removed
    )


def join(ours: Dots, known: Vector, theirs: Dots, peer: Vector) -> Dots:
    """The whole join of two states of an element with their vectors; `merge` and `settle` in one."""
    return merge(settle(ours, theirs, peer), known, theirs)


def collect(ours: Dots, known: Vector) -> Dots:
    """Drops removals of additions that the store knows: such an addition never comes again."""
    return Dots(ours.live, frozenset(dot for dot in ours.removed if not known.covers(dot)))


def encode(dots: Dots) -> bytes:
    return ",".join([*map(str, sorted(dots.live)), *(f"-{dot}" for dot in sorted(dots.removed))]).encode()


def decode(data: bytes) -> Dots:
    """Raises `ValueError` for text that is no list of dots."""
    texts = data.decode().split(",") if data else []
    return Dots(
        frozenset(Dot.parse(text) for text in texts if not text.startswith("-")),
        frozenset(Dot.parse(text[1:]) for text in texts if text.startswith("-")),
    )
