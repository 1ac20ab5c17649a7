"""From what clients were told, and what is there in the end, to what was broken. Pure.

What a disk took with it is known exactly: each write has a number of its store's epoch, and what no region knows of an
epoch of the wiped region is gone. That excuses a write that was promised to that region's disk alone, and no other.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from atoll.simulate.strong.history import judge
from atoll.simulate.strong.linearizable import Undecided
from atoll.state.kind import Kind
from atoll.state.vector import Vector, region_of
from loadtests.state.contradiction import contradiction, told
from loadtests.state.faults import Trouble
from loadtests.state.ledger import Backwards, Ledger, Outcome, Place, Write

CONVERGED_WITHIN_S = 5.0
NEAR_S = 10.0
"""Faults that were so long before or after a finding are told with it."""


@dataclass(frozen=True, slots=True)
class Final:
    """What is there when all is healed."""

    found: Mapping[str, Mapping[Place, int]]
    """Region -> place -> value: of registers, fields and counters what they hold, of elements 1. A region that can't be
    read is not in it.
    """
    known: Mapping[str, Vector]
    """Region -> what it says that it knows."""
    stock: Mapping[str, int] | None
    """Postcards left; None: strong registers didn't answer."""
    wiped: frozenset[str] = frozenset()
    equal_after_s: float | None = 0.0
    """From the end of healing until all replicas were equal; None: they never were."""
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that was not kept."""

    promise: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    findings: tuple[Finding, ...]
    excused: int
    """Writes that were on the wiped disk alone, which is all that was promised of them."""
    lost: Mapping[str, int]
    """By namespace."""
    open_counters: int
    """Counters whose sum is only known within bounds, for an addition's outcome is unknown."""
    registers: int
    """Strong registers whose history was searched."""
    steps: int

    @property
    def passed(self) -> bool:
        return not self.findings


def decide(ledger: Ledger, final: Final, remote: frozenset[str]) -> Verdict:
    """`remote` are the namespaces whose acknowledged writes are also on another region's disk."""
    gone = _Gone(final, remote)
    findings = list(_converged(final))
    lost: Counter[str] = Counter()
    open_counters = 0
    for place, writes in ledger.writes.items():
        allowed, is_open = _allowed(place, writes, gone)
        open_counters += is_open
        for region, found in final.found.items():
            if (value := found.get(place)) not in allowed:
                lost[place.namespace] += 1
                wanted = f"{min(map(_number, allowed))} to {max(map(_number, allowed))}"
                findings.append(
                    Finding(
                        "no acknowledged write is lost",
                        f"{region}: {place} has {value}, not {wanted}; {_told(writes)}",
                    )
                )
    findings += [
        Finding(f"sessions: {back.guarantee}", _shown(back, ledger, final))
        for back in ledger.backwards
        if not _excuses(back, ledger, gone)
    ]
    findings += _oversold(ledger, final)
    registers, steps, broken = _linearizable(ledger, final)
    excused = sum(gone(write) for writes in ledger.writes.values() for write in writes)
    return Verdict((*findings, *broken), excused, lost, open_counters, registers, steps)


class _Gone:
    """Whether a write went with the wiped disk, as it may."""

    def __init__(self, final: Final, remote: frozenset[str]) -> None:
        self._final = final
        self._remote = remote

    def __call__(self, write: Write) -> bool:
        if write.dot is None or region_of(write.dot.actor) not in self._final.wiped:
            return False
        if write.place.namespace in self._remote and write.outcome is Outcome.ACKED:
            return False
        return not any(known.covers(write.dot) for known in self._final.known.values())


def _allowed(place: Place, writes: list[Write], gone: _Gone) -> tuple[frozenset[int | None] | range, bool]:
    """Which values may be there, and whether that is more than one sum of a counter."""
    if place.kind is Kind.COUNTER:
        sure = sum(
            write.value or 0 for write in writes if write.outcome is not Outcome.UNKNOWN and not gone(write)
        )
        maybe = [write.value or 0 for write in writes if write.outcome is Outcome.UNKNOWN]
        low = sure + sum(value for value in maybe if value < 0)
        high = sure + sum(value for value in maybe if value > 0)
        return (frozenset({0, None}) if low == high == 0 else range(low, high + 1)), bool(maybe)
    allowed: set[int | None] = set()
    for write in reversed(writes):
        if gone(write):
            continue
        allowed.add(write.value)
        if write.outcome is not Outcome.UNKNOWN:
            return frozenset(allowed), False
    return frozenset(allowed | {None}), False


def _told(writes: list[Write], last: int = 4) -> str:
    """The last ones."""
    return ", ".join(f"{write.value} {write.outcome} as {write.dot}" for write in writes[-last:])


def _shown(back: Backwards, ledger: Ledger, final: Final) -> str:
    """A violation, what its client was told of its writes there, and what was going on."""
    return (
        f"{back.region}: {back.place} has {back.found}, and {back.wanted} was promised; its writes: "
        f"{_told(ledger.writes.get(back.place, []), 8)}; the token named {back.needs}; the region knew {back.known}; "
        f"{_around(back.at, back.at, final)}"
    )


def _contradiction(key: str, ledger: Ledger, final: Final) -> str:
    found = contradiction([event for event in ledger.events if event.key == key])
    began = min(event.call.called for event in found)
    ended = max(event.call.returned or event.call.called for event in found)
    return f"{key}: {'; '.join(told(found, began))}; {_around(began, ended, final)}"


def _around(began: float, ended: float, final: Final) -> str:
    near = [
        f"{trouble.began - began:+.1f} to {trouble.ended - began:+.1f} s: {trouble}"
        for trouble in final.troubles
        if trouble.began - NEAR_S <= ended and trouble.ended + NEAR_S >= began
    ]
    return f"faults around it: {'; '.join(near) or 'none'}"


def _number(value: int | None) -> int:
    return 0 if value is None else value


def _converged(final: Final) -> Iterator[Finding]:
    promise = f"all replicas are equal within {CONVERGED_WITHIN_S:g} s of healing"
    if final.equal_after_s is None:
        yield Finding(promise, "they never were")
    elif final.equal_after_s > CONVERGED_WITHIN_S:
        yield Finding(promise, f"it took {final.equal_after_s:.1f} s")


def _excuses(back: Backwards, ledger: Ledger, gone: _Gone) -> bool:
    """Whether what the session wanted was on the wiped disk alone."""
    return any(gone(write) for write in ledger.writes[back.place] if write.value == back.wanted)


def _oversold(ledger: Ledger, final: Final) -> Iterator[Finding]:
    if final.stock is None:
        yield Finding("strong registers answer after healing", "they did not")
        return
    for sku, stocked in ledger.stocked.items():
        sold = sum(sale.sku == sku and sale.outcome is Outcome.ACKED for sale in ledger.sales)
        maybe = sum(sale.sku == sku and sale.outcome is Outcome.UNKNOWN for sale in ledger.sales)
        left = final.stock.get(sku, stocked)
        if sold > stocked or left < 0:
            yield Finding("no postcard is oversold", f"{sku}: {sold} sold of {stocked}, {left} left")
        elif not sold <= stocked - left <= sold + maybe:
            taken = stocked - left
            yield Finding(
                "each sale is counted once", f"{sku}: {taken} taken for {sold} sold, {maybe} unknown"
            )


def _linearizable(ledger: Ledger, final: Final) -> tuple[int, int, list[Finding]]:
    promise = "strong histories are linearizable"
    try:
        verdicts = judge(ledger.events)
    except Undecided as error:
        return 0, 0, [Finding(promise, f"undecided: {error}")]
    broken = [
        Finding(promise, _contradiction(key, ledger, final))
        for key, verdict in verdicts.items()
        if not verdict.linearizable
    ]
    return len(verdicts), sum(verdict.steps for verdict in verdicts.values()), broken
