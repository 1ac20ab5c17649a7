"""A region falls silent under load, one of its gateways dies, its zone is lost. Prints the figures.

A region is killed in `tests/drills`, by the drill `region-loss`.
"""

import asyncio
import json
import time
from dataclasses import dataclass

import pytest
from tests.integration.live.regions import ROOT, Load, Run

from atoll.cell.client import SupervisorClient

pytestmark = pytest.mark.timeout(600)

REQUESTS = (
    ("us", "/catalog/search?q=rich"),
    ("ie", "/quote?from=IE&to=JP&weight_g=120&wait_ms=300"),  # some are always on their way
    ("jp", "/catalog/nearest?latitude=35.68&longitude=139.69"),
    ("ie", "/quote-eu?from=IE&to=DE&weight_g=80"),
    ("us", "/quote-eu?from=US&to=IE&weight_g=80"),
)
RATE = 25.0
RATE_AFTER = 15.0
LOST = "eu-west"


@pytest.fixture
def run(residency_run: Run) -> Run:
    return residency_run


async def _silent(run: Run, for_s: float) -> "Observed":
    """Load before, during and after a region's silence."""
    supervisor = SupervisorClient(run.paths)
    load = Load(run.entry, RATE, REQUESTS)
    going = asyncio.ensure_future(load.run())
    await asyncio.sleep(3.5)
    struck = time.monotonic()
    await supervisor.cut(LOST, None, one_way=False)
    await supervisor.freeze(LOST)
    await asyncio.sleep(for_s)
    healed = time.monotonic()
    await supervisor.heal(None, None)
    load.rate = RATE_AFTER  # what was frozen needs the processor
    async with asyncio.timeout(300):
        while LOST not in load.shares(time.monotonic() - 2, time.monotonic()):
            await asyncio.sleep(0.2)
    returned = time.monotonic()
    await asyncio.sleep(3)
    load.stop()
    await going
    return Observed(load, struck, healed, returned)


@dataclass(frozen=True, slots=True)
class Observed:
    """A load and the moments of the fault that it saw: struck, healed, and when the region served again.

    The drill `region-silence` holds the figures to their limits: it can tell a busy machine from a slow failover.
    """

    load: Load
    struck: float
    healed: float
    returned: float

    @property
    def settled_s(self) -> float:
        """From the fault until the last request for which the lost region was tried was answered."""
        felt = [
            answer.due + answer.seconds - self.struck
            for answer in self.load.answers
            if answer.due < self.healed and answer.due + answer.seconds > self.struck and LOST in answer.tried
        ]
        return max(felt, default=0.0)

    def report(self, kind: str) -> None:
        """Prints the figures and keeps them."""
        load, struck = self.load, self.struck
        figures = {
            "fault": kind,
            "requests": len(load.answers),
            "failed": len(load.failed()),
            "rate_per_s": RATE,
            "busy": round(load.busy, 2),
            "settled_s": round(self.settled_s, 3),
            "slowest_before_s": round(load.slowest(struck - 3, struck - 0.5), 3),
            "slowest_in_fault_s": round(load.slowest(struck - 0.5, self.healed), 3),
            "back_after_s": round(self.returned - self.healed, 1),
            "shares_before": load.shares(struck - 3, struck - 0.5),
            "shares_in_fault": load.shares(struck + 3, self.healed),
            "shares_after": load.shares(self.returned, self.returned + 3),
        }
        print("\n" + json.dumps(figures))
        folder = ROOT / "build" / "drills"
        folder.mkdir(parents=True, exist_ok=True)
        document = {"schema": "atoll.test-region-loss/1", **figures}
        (folder / f"region-{kind}.json").write_text(json.dumps(document, indent=1))


def _nothing_left_its_zone(load: Load) -> None:
    outside = [
        answer
        for answer in load.answers
        if answer.path.startswith("/quote-eu") and answer.region == "us-east"
    ]
    assert not outside


def test_a_silent_region_costs_no_request(run: Run) -> None:
    seen = asyncio.run(_silent(run, for_s=9))
    seen.report("silent")
    assert not seen.load.failed(), f"{seen.load.failed()[:3]}{run.logs()}"
    _nothing_left_its_zone(seen.load)
    seen.load.be_conclusive()
    assert seen.load.shares(seen.healed - 3, seen.healed)[LOST] == 0, "the region was silent"
    assert seen.settled_s < seen.healed - seen.struck, "settled elsewhere while the region was silent"


def test_one_gateway_of_two_is_not_a_region(run: Run) -> None:
    """Its sibling serves on: no other region takes over, and no read fails."""

    async def lose_one() -> Load:
        load = Load(run.entry, 12, (("ie", "/catalog/search?q=dub"),))
        going = asyncio.ensure_future(load.run())
        await asyncio.sleep(2)
        await asyncio.to_thread(run.must, "fault", "kill", f"{LOST}/gateway-1")
        await asyncio.sleep(3)
        load.stop()
        await going
        return load

    load = asyncio.run(lose_one())
    assert not load.failed()
    load.be_conclusive()
    served = [answer.region for answer in load.answers]
    assert served.count(LOST) >= 0.95 * len(served)


def test_an_eu_service_moves_inside_its_zone_and_nowhere_else(run: Run) -> None:
    path = "/quote-eu?from=IE&to=DE&weight_g=80"
    run.until(
        lambda: run.ask(path, "ie").headers["atoll-region"] == LOST,
        120,
        "clients in Ireland are served in Ireland",
    )
    run.must("fault", "cut", LOST)
    moved = run.ask(path, "ie")
    assert (moved.status_code, moved.headers["atoll-region"]) == (200, "eu-central")
    run.must("fault", "cut", "eu-central")
    run.until(
        lambda: run.ask(path, "ie").status_code == 503, 60, "refused once both regions of the zone are gone"
    )
    for place in ("ie", "us", "jp"):
        gone = run.ask(path, place)
        assert gone.status_code == 503
        assert "atoll-region" not in gone.headers
        assert gone.headers["content-type"] == "application/problem+json"
    assert run.ask("/catalog/search?q=dub", "ie").headers["atoll-region"] == "us-east", "others may go on"
