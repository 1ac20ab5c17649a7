"""The model's log: a store's own operations, of all its epochs."""

from bisect import bisect_left, bisect_right

from atoll.state.operation import Begin, decode
from atoll.state.store import LogEntry, LogSlice
from atoll.state.vector import Dot, epoch_of


class Log:
    """Entries in order, dense within an epoch; the first ones may have been cut off."""

    __slots__ = ("entries",)

    def __init__(self, entries: list[LogEntry] | None = None) -> None:
        self.entries: list[LogEntry] = entries or []

    def copy(self) -> "Log":
        return Log(list(self.entries))

    def read(self, after: Dot | None, count: int, last: Dot | None) -> LogSlice:
        """What follows `after`; `last` is the newest operation that the store has written."""
        start = 0 if after is None else bisect_right(self.entries, _place(after), key=_entry_place)
        following = self.entries[start : start + count]
        if self._lacks(after, following[0] if following else None, last):
            return LogSlice((), gap=True)
        return LogSlice(tuple(following))

    def trim(self, before: Dot) -> int:
        cut = bisect_left(self.entries, _place(before), key=_entry_place)
        del self.entries[:cut]
        return cut

    @staticmethod
    def _lacks(after: Dot | None, following: LogEntry | None, last: Dot | None) -> bool:
        """Whether something between the cursor and the next entry is cut off."""
        if following is None:
            return last is not None and (after is None or _place(after) < _place(last))
        if after is not None and following.dot.actor == after.actor:
            return following.dot.seq != after.seq + 1
        if following.dot.seq != 1:
            return True
        begin = decode(following.operation)
        assert isinstance(begin, Begin)
        if begin.previous is None:
            return False
        # Where the epoch before is older than the cursor's, an old disk was restored; the receiver knows whether it
        # has all of that epoch, and waits if not (`Store.apply`).
        return after is None or _place(begin.previous) > _place(after)


def _place(dot: Dot) -> tuple[int, int]:
    return epoch_of(dot.actor), dot.seq


def _entry_place(entry: LogEntry) -> tuple[int, int]:
    return _place(entry.dot)
