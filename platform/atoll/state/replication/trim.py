"""How far the own log may be cut: what every member has, and beyond that only if it grows too long."""

from dataclasses import dataclass

from atoll.state.vector import Actor, Dot, Vector


@dataclass(frozen=True, slots=True)
class TrimStatistics:
    """A snapshot; counters since this process started."""

    trimmed: int
    """Entries that everybody had."""
    forced: int
    """Entries that were cut although a member had not read them: it will see a gap, and transfer."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where to cut the log."""

    before: Dot
    forced: bool
    """A member has not read all of what goes."""


class Trim:
    """Where to cut. `keep` entries stay although everybody has them; more than `most` don't stay in any case."""

    __slots__ = ("_forced", "_keep", "_most", "_trimmed")

    def __init__(self, keep: int, most: int) -> None:
        self._keep = keep
        self._most = most
        self._trimmed = 0
        self._forced = 0

    def cut(self, actor: Actor, entries: int, own: Vector, stable: Vector) -> Cut | None:
        """Where the log may be cut; None: nowhere.

        `actor` is the store's current one, `entries` the log's length, `own` the own vector, `stable` what every member
        has. Entries of older epochs stand before those of the current one and go with them: whoever has something of an
        epoch has all of those before it.
        """
        last = own.seq(actor)
        shared = min(last - self._keep, stable.seq(actor))
        longest = last - self._most
        if longest > shared or (entries > self._most and shared < 1):
            return Cut(Dot(actor, max(longest, 0) + 1), forced=True)
        if shared < 1 or entries <= self._keep:
            return None
        return Cut(Dot(actor, shared + 1), forced=False)

    def trimmed(self, entries: int, *, forced: bool) -> None:
        """The store has cut so many."""
        if forced:
            self._forced += entries
        else:
            self._trimmed += entries

    def statistics(self) -> TrimStatistics:
        return TrimStatistics(self._trimmed, self._forced)
