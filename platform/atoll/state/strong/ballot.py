"""Ballots: the order of all attempts to change a register.

A ballot belongs to one attempt of one proposer. Two values under one ballot would let two majorities believe in
different ones, so a proposer never uses a ballot twice, not even after a failure, and a process that has restarted is
a proposer of another name.
"""

import re
from dataclasses import dataclass
from typing import Self

_PROPOSER = re.compile(r"[!-~]{1,100}")
MOST = 2**63 - 1
"""The largest counter: the text has room for 16 hex digits."""


@dataclass(frozen=True, slots=True, order=True)
class Ballot:
    """Ordered by counter, then by proposer.

    Raises `ValueError` for a counter below 1 and for a proposer's name that isn't printable ASCII without blanks.
    """

    counter: int
    proposer: str
    """Region and boot epoch, `eu-west.1763700000`: no two processes ever have the same."""

    def __post_init__(self) -> None:
        if not 1 <= self.counter <= MOST:
            raise ValueError(f"a ballot's counter is from 1 to {MOST}, not {self.counter}")
        if not _PROPOSER.fullmatch(self.proposer):
            raise ValueError(
                f"{self.proposer!r} names no proposer: 1 to 100 printable ASCII characters, no blanks"
            )

    @property
    def text(self) -> str:
        """As stores and messages have it. Its order, byte by byte, is the order of ballots."""
        return f"{self.counter:016x}.{self.proposer}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `text`. Raises `ValueError`."""
        counter, dot, proposer = text[:16], text[16:17], text[17:]
        if dot != ".":
            raise ValueError(f"{text!r} is no ballot")
        return cls(int(counter, 16), proposer)


class Ballots:
    """One process's ballots, for all registers: each is above all that it gave or saw before.

    One counter for all, so that a register may be forgotten and taken up again without a ballot coming twice.
    """

    __slots__ = ("_counter", "_proposer")

    def __init__(self, proposer: str) -> None:
        self._proposer = proposer
        self._counter = 0

    def next(self) -> Ballot:
        """A ballot that nobody has used."""
        self._counter += 1
        return Ballot(self._counter, self._proposer)

    def saw(self, ballot: Ballot) -> None:
        """Somebody has used `ballot`: the next one will be above it."""
        self._counter = max(self._counter, ballot.counter)
