"""What goes on behind keyed requests: answers that are held, work that outlives its request."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from atoll.clock import SystemClock
from atoll.resilience.idempotency import Claim, Claimed, Settlement
from atoll_gateway.keys import settling
from atoll_gateway.keys.contract import KeysUnavailable
from atoll_gateway.keys.settling import Settling, SettlingStatistics
from atoll_gateway.keys.wire import Order, Report, read_order, read_report, write_order, write_report
from atoll_gateway.layers.idempotency import _held
from atoll_gateway.message import Failed, Response
from atoll_gateway.upstream_errors import Truncated

CLAIM = Claim("cart", "record", "print", "a/1", 60_000, 60_000)
SHORT = Claim("cart", "record", "print", "a/1", 0, 60_000)


class Flaky:
    """Records that fail some times, then take everything."""

    def __init__(self, failures: int, misses: int = 0) -> None:
        self.failures = failures
        self.misses = misses
        self.settled: list[Settlement] = []

    async def claim(self, claim: Claim) -> Claimed:
        raise NotImplementedError

    async def settle(self, claim: Claim, settlement: Settlement, answer: bytes = b"") -> bool:
        if self.failures:
            self.failures -= 1
            raise KeysUnavailable("down", sent=True)
        if self.misses:
            self.misses -= 1
            return False
        self.settled.append(settlement)
        return True


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Settling:
    monkeypatch.setattr(settling, "PAUSE_S", 0.001)
    return Settling(SystemClock(), random.Random(1))


async def test_a_settlement_that_fails_is_tried_on(work: Settling) -> None:
    keys = Flaky(failures=3)
    assert not await work.settle(keys, CLAIM, Settlement.COMPLETE, b"answer")
    await work.finish()
    assert keys.settled == [Settlement.COMPLETE]
    assert work.statistics() == SettlingStatistics(running=0, unsettled=0, given_up=0)


async def test_a_claim_is_taken_back_also_if_it_comes_late(work: Settling) -> None:
    keys = Flaky(failures=2, misses=2)
    work.withdraw(keys, CLAIM)
    await work.finish()
    assert keys.settled == [Settlement.RELEASE]


async def test_a_key_that_has_passed_to_somebody_else_is_let_be(work: Settling) -> None:
    keys = Flaky(failures=1, misses=1)
    assert not await work.settle(keys, CLAIM, Settlement.UNKNOWN)
    await work.finish()
    assert keys.misses == 0 and not keys.settled


async def test_what_cannot_be_settled_is_left_to_its_lease(
    work: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await work.settle(Flaky(failures=9), SHORT, Settlement.COMPLETE)
    await work.finish()
    assert work.statistics().given_up == 1
    monkeypatch.setattr(settling, "UNSETTLED", 1)
    for _ in range(3):
        work.withdraw(Flaky(failures=10**6), CLAIM)
    assert work.statistics() == SettlingStatistics(running=0, unsettled=1, given_up=3)
    work.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.gather(*work._unsettled)


async def test_work_goes_on_when_nobody_waits_and_a_stream_that_nobody_reads_is_closed(
    work: Settling,
) -> None:
    go, closed = asyncio.Event(), asyncio.Event()

    async def answer() -> Response:
        await go.wait()
        return Response(200, [], b"", "eu-west", closed.set)

    waiting = asyncio.ensure_future(work.shielded(answer()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert work.statistics().running == 1
    go.set()
    await work.finish()
    await asyncio.wait_for(closed.wait(), 5)


async def test_a_failure_that_nobody_waits_for_makes_no_noise(
    work: Settling, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> Response:
        await asyncio.sleep(0)
        raise ValueError

    waiting = asyncio.ensure_future(work.shielded(fail()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await work.finish()
    assert not caplog.records


async def pieces(*chunks: bytes, broken: bool = False) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if broken:
        raise Truncated("gone")


async def test_a_short_answer_of_unknown_length_is_held_whole() -> None:
    held = await _held(Response(200, [(b"a", b"b")], pieces(b"x" * 60_000, b"y"), "eu-west"))
    assert held.body == b"x" * 60_000 + b"y"
    assert held.headers == [(b"a", b"b"), (b"content-length", b"60001")]
    empty = await _held(Response(204, [], pieces(), "eu-west"))
    assert (empty.body, empty.headers) == (b"", [])


async def test_a_long_answer_goes_through_whole() -> None:
    held = await _held(Response(200, [], pieces(b"x" * 60_000, b"y" * 60_000, b"z"), "eu-west"))
    assert not isinstance(held.body, bytes)
    assert b"".join([chunk async for chunk in held.body]) == b"x" * 60_000 + b"y" * 60_000 + b"z"


@pytest.mark.parametrize(
    "header", [(b"content-type", b"Text/Event-Stream; x=y"), (b"content-length", b"70000")]
)
async def test_events_and_what_is_known_to_be_long_are_not_waited_for(header: tuple[bytes, bytes]) -> None:
    response = Response(200, [header], pieces(b"x"), "eu-west")
    assert await _held(response) is response


async def test_an_answer_that_breaks_off_is_an_unknown_outcome() -> None:
    with pytest.raises(Failed) as failed:
        await _held(Response(200, [], pieces(b"x", broken=True), "eu-west"))
    assert failed.value.sent and failed.value.problem.type == "outcome-unknown"


def test_orders_and_reports_are_read_as_they_were_written() -> None:
    order = Order(CLAIM, Settlement.COMPLETE)
    assert read_order(write_order(order, b"a\nb")) == (order, b"a\nb")
    assert read_order(write_order(order, b"").replace(b"{", b'{"later":1,', 1)) == (order, b"")
    assert read_report(write_report(Report(settled=True), b"\n")) == (Report(settled=True), b"\n")
    with pytest.raises(ValueError, match="claim"):
        read_order(b"{}\n")
