"""The counter: what each actor has added and taken off in all: PN-counter of Shapiro et al., 2011.

    <plus> <minus> <seq>        decimal digits, both sums zero or more

An actor's totals only grow with its numbers, so the join of two tallies of an actor is the one with the larger number,
and an operation that comes twice counts once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LIMIT: Final = 2**53 - 1
"""The largest sum that an actor may reach: a Lua number holds integers exactly up to here."""


@dataclass(frozen=True, slots=True)
class Tally:
    """One actor's totals as of its operation `seq`."""

    plus: int = 0
    minus: int = 0
    seq: int = 0

    def added(self, amount: int, seq: int) -> "Tally":
        """These totals after the operation `seq` added `amount`. Raises `OverflowError` beyond `LIMIT`."""
        tally = Tally(self.plus + max(amount, 0), self.minus + max(-amount, 0), seq)
        if tally.plus > LIMIT or tally.minus > LIMIT:
            raise OverflowError(f"a counter's increments and its decrements may each sum up to {LIMIT}")
        return tally


def join(ours: Tally, theirs: Tally) -> Tally:
    return theirs if theirs.seq > ours.seq else ours


def total(tallies: Iterable[Tally]) -> int:
    """The counter's value."""
    return sum(tally.plus - tally.minus for tally in tallies)


def encode(tally: Tally) -> bytes:
    return f"{tally.plus} {tally.minus} {tally.seq}".encode()


def decode(data: bytes) -> Tally:
    """Raises `ValueError` for bytes that are no tally."""
    parts = data.split(b" ")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise ValueError("not a tally: it is written <plus> <minus> <seq>")
    plus, minus, seq = parts
    return Tally(int(plus), int(minus), int(seq))
