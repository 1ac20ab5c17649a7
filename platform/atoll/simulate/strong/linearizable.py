"""Whether a history of operations on one object is linearizable: each took effect at one moment between its call and
its return.

The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the memo of Lowe ("Testing for
linearizability", 2017): go through the orders that the intervals allow, and never twice through the same set of done
operations with the same state. What may be done now and changes nothing is done now, without a look at other orders:
any order that holds still holds with it moved to the front. An operation whose outcome is unknown may take effect at
any time after its call, or never. Objects are judged one by one: a history is linearizable if it is so for each
(Herlihy and Wing, 1990).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

MOST_STEPS = 2_000_000
"""Steps of a search before it is given up."""

O = TypeVar("O")  # noqa: E741  an operation
S = TypeVar("S", bound=Hashable)


class Undecided(Exception):
    """The search was given up: too many operations whose order is open."""


@dataclass(frozen=True, slots=True)
class Call(Generic[O]):
    """An operation with its outcome, and when it was under way."""

    operation: O
    called: float
    returned: float | None
    """None: its outcome is unknown, and it may yet take effect."""


@dataclass(frozen=True, slots=True)
class Verdict(Generic[O]):
    """`stuck` is empty for a linearizable history; else the calls one of which would have had to come next where the
    search got farthest.
    """

    linearizable: bool
    steps: int
    stuck: tuple[Call[O], ...] = ()


def check(
    calls: Sequence[Call[O]],
    initial: S,
    step: Callable[[S, O], S | None],
    rank: Callable[[O], tuple[int, ...] | None] | None = None,
) -> Verdict[O]:
    """Judges the history of one object.

    `step` does one operation on a state: the next state, or None if the operation could not have had its outcome
    there. `rank` leaves out orders that `step` would refuse later: of operations that have one, and whose outcome is
    known, lower ranks come first. Raises `Undecided`.
    """
    known = sorted((call for call in calls if call.returned is not None), key=lambda call: call.called)
    maybe = sorted((call for call in calls if call.returned is None), key=lambda call: call.called)
    ends = [call.returned for call in known if call.returned is not None]
    ranks = [None if rank is None else rank(call.operation) for call in known]
    ranked = sorted((place, index) for index, place in enumerate(ranks) if place is not None)
    # A node: all of `known` below `low` are done, and of those from `low` on the bits of `done`, and the bits of
    # `taken` of `maybe`.
    start = (0, 0, 0, initial)
    seen = {start}
    open_nodes = [start]
    steps, farthest, stuck = 0, -1, tuple[Call[O], ...]()
    while open_nodes:
        low, done, taken, state = open_nodes.pop()
        if low == len(known):
            return Verdict(linearizable=True, steps=steps)
        first_end = float("inf")
        ready: list[int] = []
        for index in range(low, len(known)):
            if known[index].called > first_end:
                break
            if not done >> (index - low) & 1:
                ready.append(index)
                first_end = min(first_end, ends[index])
        lowest = next(
            (place for place, index in ranked if index >= low and not done >> (index - low) & 1), None
        )
        if low > farthest:
            farthest, stuck = low, tuple(known[index] for index in ready)
        following: list[tuple[int, int, int, S]] = []
        for number, call in enumerate(maybe):
            if call.called > first_end:
                break
            if not taken >> number & 1 and (after := step(state, call.operation)) not in (None, state):
                following.append((low, done, taken | 1 << number, after))
        # Those that returned first are tried first: they come last here, since nodes are taken from the end.
        for index in sorted(ready, key=ends.__getitem__, reverse=True):
            if ranks[index] in (None, lowest) and (after := step(state, known[index].operation)) is not None:
                next_low, next_done = low, done | 1 << (index - low)
                while next_done & 1:
                    next_low, next_done = next_low + 1, next_done >> 1
                node = (next_low, next_done, taken, after)
                if after == state:
                    following = [node]
                    break
                following.append(node)
        steps += len(following) + 1
        if steps > MOST_STEPS:
            raise Undecided(f"gave up after {steps} steps at operation {low} of {len(known)}")
        for node in following:
            if node not in seen:
                seen.add(node)
                open_nodes.append(node)
    return Verdict(linearizable=False, steps=steps, stuck=stuck)
