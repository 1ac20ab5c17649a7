"""Whom a fault reached, and whom it should not have."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from loadtests.drills.figures.phases import Phase
from loadtests.drills.record import Request
from loadtests.drills.scenario import Fault


def touched(faults: Iterable[Fault]) -> frozenset[str]:
    """The regions that faults name as their targets; the far end of a link is not touched."""
    return frozenset(region for fault in faults if (region := fault.target.partition("/")[0]))


def homes(parts: Mapping[Phase, Iterable[Request]]) -> dict[str, str]:
    """Country -> the region that served most of its users while nothing was wrong; before the fault, or else after."""
    found: dict[str, str] = {}
    for phase in (Phase.BEFORE, Phase.AFTER):
        served: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for request in parts[phase]:
            if request.region and not request.failed:
                served[request.country][request.region] += 1
        for country, regions in served.items():
            found.setdefault(country, regions.most_common(1)[0][0])
    return found


def failed_elsewhere(requests: Iterable[Request], home: Mapping[str, str], faults: Iterable[Fault]) -> int:
    """Failed requests of users whose home was not touched. Users whose home nobody knows are left out."""
    hit = touched(faults)
    return sum(
        request.failed and request.country in home and home[request.country] not in hit
        for request in requests
    )
