"""The part of a strong register's history that shows that it can't be put in order: small enough to be read. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from atoll.simulate.strong.history import Changed, Event, Got, judge
from atoll.simulate.strong.linearizable import Undecided
from atoll.state.strong.backend import Conflict, Versioned


def contradiction(events: Sequence[Event]) -> list[Event]:
    """Of one key's operations, which are not linearizable: those up to the first answer after which no order is left,
    without those that the contradiction does without.
    """
    ends = sorted(event.call.returned for event in events if event.call.returned is not None)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _broken(_until(events, ends[middle])) else (middle + 1, high)
    return _fewest(_until(events, ends[low]) if ends else list(events))


def told(events: Sequence[Event], began: float) -> list[str]:
    """A line for each, with seconds from `began`."""
    return [_line(event, began) for event in sorted(events, key=lambda event: event.call.called)]


def _until(events: Sequence[Event], moment: float) -> list[Event]:
    """The history as it was known then: what had not returned is unknown, and reads of it tell nothing."""
    known = []
    for event in events:
        call = event.call
        if call.called > moment:
            continue
        if call.returned is not None and call.returned > moment:
            if not isinstance(call.operation, Changed):
                continue
            call = replace(call, operation=replace(call.operation, outcome=None), returned=None)
        known.append(replace(event, call=call))
    return known


def _fewest(events: list[Event]) -> list[Event]:
    """Leaves out what isn't needed, in larger and then smaller pieces (Zeller and Hildebrandt, "Simplifying and
    isolating failure-inducing input", 2002).
    """
    size = max(1, len(events) // 2)
    while True:
        before, at = len(events), 0
        while at < len(events):
            rest = events[:at] + events[at + size :]
            if _whole(rest) and _broken(rest):
                events = rest
            else:
                at += size
        if size == 1 and len(events) == before:
            return events
        size = max(1, size // 2)


def _whole(events: list[Event]) -> bool:
    """Whether every value that was seen has its write: else the history would be broken by what was left out."""
    seen = {value for event in events for value in _seen(event)}
    return seen <= {
        event.call.operation.change.value for event in events if isinstance(event.call.operation, Changed)
    }


def _seen(event: Event) -> tuple[bytes, ...]:
    match event.call.operation:
        case Got(Versioned(_, value)) | Changed(_, Conflict(Versioned(_, value))):
            return (value,)
    return ()


def _broken(events: Sequence[Event]) -> bool:
    try:
        return any(not verdict.linearizable for verdict in judge(events).values())
    except Undecided:
        return False


def _line(event: Event, began: float) -> str:
    call = event.call
    until = "..." if call.returned is None else f"{call.returned - began:.3f}"
    operation = call.operation
    if isinstance(operation, Got):
        what = f"read {operation.value}"
    else:
        change = operation.change
        what = f"{change.operation_id} (expecting {change.expect}): {operation.outcome or 'unknown'}"
    return f"{call.called - began:.3f} to {until}: {what}"
