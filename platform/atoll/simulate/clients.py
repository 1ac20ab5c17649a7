"""When clients send what: drawn before the run, so that the same seed sends the same however the gateways behave."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from atoll.resilience.criticality import Criticality
from atoll.simulate.record import Kind
from atoll.simulate.scenario import Fault, FaultKind, Load, Mix, Scenario


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request that a client is going to send."""

    at: float
    load: Load
    kind: Kind
    criticality: Criticality
    leaves_after_s: float | None
    """The client goes away if it has no answer by then."""


def arrivals(scenario: Scenario, chance: Random) -> list[Arrival]:
    """Every request of a scenario in order of time."""
    surges = [fault for fault in scenario.faults if fault.kind is FaultKind.SURGE]
    drawn = [
        _arrival(at, load, chance)
        for load in scenario.loads
        for at in _moments(load, surges, scenario.duration_s, chance)
    ]
    drawn.sort(key=lambda arrival: arrival.at)
    return drawn


def _moments(load: Load, surges: Iterable[Fault], end: float, chance: Random) -> Iterator[float]:
    """An inhomogeneous Poisson process, by thinning (Lewis and Shedler, 1979)."""
    mine = [surge for surge in surges if surge.target in ("", load.country)]
    most = load.most
    for surge in mine:
        most *= max(1.0, surge.factor)
    now = 0.0
    while most > 0:
        now += chance.expovariate(most)
        if now >= end:
            return
        rate = load.rate_at(now)
        for surge in mine:
            if surge.at_s <= now < surge.until_s:
                rate *= surge.factor
        if chance.random() * most < rate:
            yield now


def _arrival(at: float, load: Load, chance: Random) -> Arrival:
    mix = load.mix
    return Arrival(
        at,
        load,
        _kind(mix, chance.random()),
        _criticality(mix, chance.random()),
        chance.uniform(0.0, 0.5) if chance.random() < mix.impatient else None,
    )


def _kind(mix: Mix, drawn: float) -> Kind:
    if drawn < mix.post:
        return Kind.POST
    return Kind.KEYED if drawn < mix.post + mix.keyed else Kind.GET


def _criticality(mix: Mix, drawn: float) -> Criticality:
    if drawn < mix.critical:
        return Criticality.CRITICAL
    return Criticality.SHEDDABLE if drawn < mix.critical + mix.sheddable else Criticality.DEFAULT


def repeats(scenario: Scenario, country: str, now: float) -> int:
    """How often a client repeats a request that failed at this moment."""
    return max(
        (
            int(fault.factor)
            for fault in scenario.faults
            if fault.kind is FaultKind.RETRY_STORM
            and fault.target in ("", country)
            and fault.at_s <= now < fault.until_s
        ),
        default=0,
    )
