"""A region whose service has become slow is left, though its gateways and the way to them are as fast as ever."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.gateways import World
from tests.integration.patient import PATIENT_POOL
from tests.integration.test_retries import FROM_IRELAND, Trial, trial

from atoll.resilience import pace
from atoll.routing.spill import Spill
from atoll_gateway.headers import first, write_head
from atoll_gateway.upstream import Upstream

RATE = 40
USUAL_S = 0.05
SLOW_S = 10 * USUAL_S
TOO_LATE_S = USUAL_S / 2
"""Where a tenth of the requests go out this late or later, it is the machine that answers take their time from."""


@dataclass(frozen=True, slots=True)
class Told:
    """One request: when it was sent, how much later than due, how long it took, its status, which region answered."""

    at: float
    late: float
    seconds: float
    status: int
    region: str


async def steady(made: World, seconds: float, rate: int = RATE) -> list[Told]:
    """So many seconds of requests to the entry, sent whether earlier ones are answered or not."""
    address = made.entry.wiring.public
    upstream = Upstream(address.host, address.port, settings=PATIENT_POOL)
    fields = [(name.lower().encode(), value.encode()) for name, value in FROM_IRELAND.items()]
    head = write_head("GET", b"/echo/x", [(b"host", b"test"), *fields, (b"content-length", b"0")])
    told: list[Told] = []

    async def one(due: float) -> None:
        at = time.monotonic()
        answer = await upstream.send(head, None, method="GET")
        await answer.read()
        region = (first(answer.headers, b"atoll-region") or b"").decode()
        told.append(Told(at, at - due, time.monotonic() - at, answer.status, region))

    try:
        async with asyncio.TaskGroup() as group:
            begin = time.monotonic()
            for number in range(int(seconds * rate)):
                due = begin + number / rate
                await asyncio.sleep(due - time.monotonic())
                group.create_task(one(due))
    finally:
        upstream.close()
    return told


def be_conclusive(told: list[Told]) -> None:
    """Ends a test as inconclusive if the machine was at its end: regions are judged by how long their answers take.
    What has to hold on any machine is looked at before.
    """
    late = sorted(one.late for one in told)[len(told) * 9 // 10]
    if late > TOO_LATE_S:
        pytest.skip(f"inconclusive: a tenth of the requests went out {late * 1000:.0f} ms late or later")


async def made_slow(it: Trial, seconds: float) -> list[Told]:
    """What is told once the nearest region has been slow for some time. Everybody else has always been as usual."""
    it.all(waits_s=USUAL_S)
    before = await steady(it.world, 2.0)
    assert {one.status for one in before} == {200}
    be_conclusive(before)
    assert {one.region for one in before} == {"eu-west"}, "the nearest region has everything"
    it.replicas["eu-west"].waits_s = SLOW_S
    left = await steady(it.world, 2.0)
    after = await steady(it.world, seconds)
    assert {one.status for one in (*left, *after)} == {200}, "no request fails"
    be_conclusive([*left, *after])
    return after


async def test_a_region_whose_service_has_become_slow_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "PAUSE_S", 30.0)  # it is not tried again before the test is over
    async with trial(tmp_path) as it:
        after = await made_slow(it, 2.0)
        behind = it.world.entry.stack.retry.behind("echo", "eu-west")
        assert behind is not None and behind.rival == "us-east"
        regions = Counter(one.region for one in after)
        assert regions["eu-west"] <= 0.02 * len(after), regions
        assert sum(one.seconds >= SLOW_S for one in after) <= 0.02 * len(after), (
            "nor does any answer take as long"
        )


async def test_without_a_verdict_it_goes_on_being_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control: hedges help a tenth of the requests, and what is slow becomes usual."""
    monkeypatch.setattr(pace, "LOST_SHARE", 2.0)
    async with trial(tmp_path) as it:
        after = await made_slow(it, 2.0)
        assert it.world.entry.stack.retry.behind("echo", "eu-west") is None
        assert sum(one.seconds >= SLOW_S for one in after) > 0.5 * len(after)


async def test_a_region_that_is_fast_again_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little by little: it is tried before it is trusted."""
    monkeypatch.setattr(pace, "PAUSE_S", 2.5)
    async with trial(tmp_path, "[routing]\nramp = '4s'\n") as it:
        await made_slow(it, 0.1)
        it.replicas["eu-west"].waits_s = USUAL_S
        back = await steady(it.world, 7.5)
        assert {one.status for one in back} == {200}
        be_conclusive(back)
        began = next(one.at for one in back if one.region == "eu-west")
        early = [one.region for one in back if began <= one.at < began + 1.0]
        late = [one.region for one in back[-RATE:]]
        assert early.count("eu-west") < 0.6 * len(early)
        assert late.count("eu-west") > 0.9 * len(late)


async def tried_under_growing_demand(folder: Path) -> float:
    """The share that a region gets, tried again while next to nothing is asked, once much is asked that takes long."""
    async with trial(folder, "[routing]\nramp = '8s'\n") as it:
        it.all(waits_s=USUAL_S)
        attempts = it.world.entry.stack.retry.services["echo"].attempts
        await steady(it.world, 0.5)
        its = attempts._timers["eu-west"].pace
        while attempts.behind("eu-west") is None:
            its.attempts += 1
            its.due()
            its.lost("us-east", SLOW_S)
        async with asyncio.timeout(60):
            while not ((behind := attempts.behind("eu-west")) and behind.tried_again):
                await steady(it.world, 0.3, 10)
        it.all(waits_s=USUAL_S * 8)
        told = await steady(it.world, 4.0)
        assert {one.status for one in told} == {200}
        be_conclusive(told)
        late = [one.region for one in told[-RATE:]]
        return late.count("eu-west") / len(late)


async def test_a_region_that_is_tried_again_gets_its_part_of_what_there_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "PAUSE_S", 1.5)
    assert await tried_under_growing_demand(tmp_path) > 0.4


async def test_control_a_part_of_what_there_was_is_next_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "PAUSE_S", 1.5)
    monkeypatch.setattr(Spill, "_there_is", lambda *_: 1.0)
    assert await tried_under_growing_demand(tmp_path) < 0.4
