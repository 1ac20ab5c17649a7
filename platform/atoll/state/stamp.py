"""Hybrid logical clocks: stamps that follow causality and stay close to wall time.

Kulkarni, Demirbas et al., "Logical physical clocks and consistent snapshots in globally distributed databases", 2014.
A stamp is 48 bits of Unix milliseconds and 16 bits of counter, written as 16 hex digits: text of a fixed width orders
as the numbers do, also in Lua, whose numbers lose digits beyond 2**53.
"""

from typing import Final, TypeAlias

from atoll.clock import Clock

Stamp: TypeAlias = str
"""16 lower-case hex digits: 12 of Unix milliseconds, 4 of counter. Compared as text."""

ZERO: Final[Stamp] = "0" * 16
"""Before every stamp."""

FUTURE_MS: Final = 500
"""A stamp further ahead of the receiver's wall clock than this is not taken in yet: CockroachDB's default
``--max-offset``. Taken in at once, a fast clock would win for ever."""

_COUNTER_BITS: Final = 16
_END: Final = 1 << 64


def stamp_of(wall_ms: int, counter: int = 0) -> Stamp:
    """Raises `ValueError` for what doesn't fit in 48 and 16 bits."""
    if not (0 <= wall_ms < 1 << 48 and 0 <= counter < 1 << _COUNTER_BITS):
        raise ValueError(f"{wall_ms} ms with counter {counter} fits in no stamp")
    return f"{(wall_ms << _COUNTER_BITS) | counter:016x}"


def millis(stamp: Stamp) -> int:
    """The wall time of a stamp in Unix milliseconds."""
    return int(stamp[:12], 16)


def counter_of(stamp: Stamp) -> int:
    return int(stamp[12:], 16)


def is_stamp(text: str) -> bool:
    return len(text) == 16 and not text.strip("0123456789abcdef")


def successor(last: Stamp, now_ms: int) -> Stamp:
    """The stamp of a write: later than `last`, and not before `now_ms`.

    A counter that is full carries into the milliseconds, as the sum of the 64 bits does.
    """
    following = max(int(last, 16) + 1, now_ms << _COUNTER_BITS)
    if following >= _END:
        raise OverflowError("the clock has reached the end of its 48 bits of milliseconds")
    return f"{following:016x}"


def ahead_ms(stamp: Stamp, now_ms: int) -> int:
    """For how many milliseconds a receiver whose wall clock says `now_ms` must delay `stamp`; 0: take it in now."""
    return max(0, millis(stamp) - now_ms - FUTURE_MS)


class HybridClock:
    """Issues stamps that only grow, however the wall clock jumps; a stamp seen elsewhere is below all issued later."""

    __slots__ = ("_clock", "last")

    def __init__(self, clock: Clock, last: Stamp = ZERO) -> None:
        self._clock = clock
        self.last = last
        """The largest stamp issued or observed."""

    def now(self) -> Stamp:
        """A new stamp."""
        self.last = successor(self.last, wall_ms(self._clock))
        return self.last

    def observe(self, stamp: Stamp) -> None:
        """Takes a stamp of another clock in. The caller checks `ahead_ms` before."""
        self.last = max(self.last, stamp)


def wall_ms(clock: Clock) -> int:
    """Unix milliseconds, rounded down."""
    return int(clock.wall() * 1000)
