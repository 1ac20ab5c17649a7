"""Retries and hedges end to end: how many attempts reach replicas when everything fails, and who ends whom."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.gateways import IRELAND, World, client, until, world
from tests.integration.patient import PATIENT, PATIENT_POOL, patience

from atoll.resilience.budget import UNLIMITED, RetryBudget
from atoll.topology.wiring import Address
from atoll_gateway.answer import take_answer
from atoll_gateway.answers import Answers
from atoll_gateway.headers import first, write_head
from atoll_gateway.http.exchange import CutResponse, Receive, Scope, Send
from atoll_gateway.http.server import HttpServer
from atoll_gateway.layers import remote
from atoll_gateway.message import Response
from atoll_gateway.upstream import Upstream
from atoll_gateway.upstream_connection import UpstreamResponse
from atoll_gateway.upstream_errors import ResponseLost

ALONE = """
[breaker]
consecutive = 1000000
minimum = 1000000
[outlier]
consecutive = 1000000
minimum = 1000000
stall = "60s"
[bulkhead]
floor = 512
wait = "30s"
"""
"""Nothing but the budget keeps attempts from a region that fails."""

FROM_IRELAND = {"X-Forwarded-For": IRELAND}


@dataclass(slots=True)
class Scripted:
    """A replica that does what a test tells it."""

    region: str
    status: int = 200
    drops: bool = False
    """Whether it cuts the connection in mid-answer."""
    retry_after: list[bytes] = field(default_factory=list)
    """As long as there is one, the answer is 503 with it."""
    waits_s: float = 0.0
    """How long it takes, unless `released` is set before."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[float] = field(default_factory=list)
    """When clients' requests came."""
    disconnects: int = 0
    """Requests whose client went away before they were answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/-/"):  # a gateway asks whether it is alive
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        self.asked.append(time.monotonic())
        while (await receive()).get("more_body", False):
            pass
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.waits_s):
                    await self.released.wait()
        except asyncio.CancelledError:  # the connection was closed
            self.disconnects += 1
            raise
        status, headers = self.status, [(b"content-length", b"%d" % len(self.region))]
        if self.retry_after:
            status = 503
            headers.append((b"retry-after", self.retry_after.pop(0)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if self.drops:
            raise CutResponse
        await send({"type": "http.response.body", "body": self.region.encode()})


@dataclass(slots=True)
class Trial:
    """The harness, with scripted replicas."""

    world: World
    replicas: dict[str, Scripted]

    @property
    def asked(self) -> int:
        return sum(len(replica.asked) for replica in self.replicas.values())

    def all(self, **settings: object) -> None:
        for replica in self.replicas.values():
            for name, value in settings.items():
                setattr(replica, name, value)


@asynccontextmanager
async def trial(folder: Path, extra: str = "", topology: str = PATIENT) -> AsyncIterator[Trial]:
    async with AsyncExitStack() as stack:
        stack.enter_context(patience())
        made = await stack.enter_async_context(world(folder, topology=topology + extra))
        replicas: dict[str, Scripted] = {}
        for region, cell in made.cells.items():
            replica = replicas[region] = Scripted(region)
            server = HttpServer(replica)
            await server.start()
            stack.push_async_callback(server.close)
            its = (Address("127.0.0.1", server.address[1]),)
            placed = [service.name for service in cell.gateway.topology.services_in(region)]
            cell.gateway.replicas.update(dict.fromkeys(placed, its))
        yield Trial(made, replicas)


async def load(made: World, requests: int, method: str = "GET", at_once: int = 16) -> list[tuple[int, int]]:
    """Status and attempts of so many requests to the entry."""
    address = made.entry.wiring.public
    upstream = Upstream(address.host, address.port, settings=PATIENT_POOL)
    head = write_head(
        method,
        b"/echo/x",
        [(b"host", b"test"), (b"x-forwarded-for", IRELAND.encode()), (b"content-length", b"0")],
    )
    left = iter(range(requests))
    told: list[tuple[int, int]] = []

    async def one_after_another() -> None:
        for _ in left:
            answer = await upstream.send(head, None, method=method)
            await answer.read()
            told.append((answer.status, int(first(answer.headers, b"atoll-attempts") or 0)))

    try:
        await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    finally:
        upstream.close()
    return told


def metric(made: World, line: str) -> bool:
    return line in Answers(made.entry).exposition()[0].decode().splitlines()


@pytest.mark.parametrize("how", ["503", "drop"])
async def test_when_every_region_fails_attempts_are_a_share_of_requests(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []

    def give_back(budget: RetryBudget, receipt: int) -> None:
        given_back.append(receipt)
        usual(budget, receipt)

    usual = RetryBudget.give_back
    monkeypatch.setattr(RetryBudget, "give_back", give_back)
    async with trial(tmp_path, ALONE) as it:
        it.all(status=503 if how == "503" else 200, drops=how == "drop")
        started = time.monotonic()
        told = await load(it.world, 1500)
        windows = (time.monotonic() - started) // 10 + 1
        assert {status for status, _ in told} <= {502, 503}
        attempts = sum(attempts for _, attempts in told)
        assert attempts <= 1.2 * 1500 + windows * 10 * it.world.entry.topology.retry.floor_per_s
        assert it.asked > 1.1 * 1500, "what the budget allows is used"
        if how == "503":
            assert attempts == it.asked, "Atoll-Attempts says how many there were"
        else:  # one on a connection that is being closed is an attempt, though the replica sees nothing of it
            assert attempts >= it.asked
        statistics = it.world.entry.stack.retry.statistics()["echo"].budget
        further = sum(max(0, attempts - 1) for _, attempts in told)
        assert statistics.requests - len(given_back) == further, "every one was paid for"
        assert statistics.overflow > 0
        assert metric(it.world, f'atoll_retry_overflow_total{{service="echo"}} {float(statistics.overflow)}')
        others = [cell.gateway.stack.retry.statistics() for cell in it.world.cells.values()]
        assert not any(of["echo"].budget.requests for of in others), "the first hop owns the budget"


async def test_without_a_budget_attempts_are_a_multiple_of_requests(tmp_path: Path) -> None:
    async with trial(tmp_path, ALONE) as it:
        it.all(status=503)
        it.world.entry.stack.retry.services["echo"].budget = UNLIMITED
        await load(it.world, 300)
        assert it.asked == 3 * 300


async def test_an_answer_that_is_lost_on_the_link_was_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [ResponseLost("cut in mid-body", reused=False)]

    async def take(answer: UpstreamResponse, region: str | None, done: Callable[[], None]) -> Response:
        if lost:
            raise lost.pop()
        return await take_answer(answer, region, done)

    monkeypatch.setattr(remote, "take_answer", take)
    async with trial(tmp_path, "[hedge]\nenabled = false\n") as it:
        assert await load(it.world, 1) == [(200, 2)]
        assert it.asked == 2


async def test_no_write_is_sent_twice_whatever_fails(tmp_path: Path) -> None:
    async with trial(tmp_path, ALONE) as it:
        it.all(drops=True)
        told = await load(it.world, 200, "POST")
        assert set(told) == {(502, 1)}
        assert it.asked == 200


SLOW_S = 20.0
"""Nobody waits for it: a busy machine has that long to overtake it."""

TWO_ATTEMPTS = PATIENT.replace("[services.echo]", "[services.echo]\nmax_attempts = 2")
"""A hedge that a busy machine makes slow is not hedged in turn."""


async def hedged(it: Trial) -> None:
    """Makes it known how fast the regions usually are, by writes, which are not hedged; then has one be slow."""
    await load(it.world, 40, "POST", at_once=1)
    assert it.world.entry.stack.retry.statistics()["echo"].attempts.hedged_after_s["eu-west"] < 1.0
    it.replicas["eu-west"].waits_s = SLOW_S


async def test_a_slow_region_is_overtaken_and_told_to_stop(tmp_path: Path) -> None:
    async with trial(tmp_path, topology=TWO_ATTEMPTS) as it, client() as http:
        await hedged(it)
        answer = await http.get(f"{it.world.url()}/echo/x", headers=FROM_IRELAND)
        assert (answer.status_code, answer.text) == (200, "us-east")
        assert answer.headers["atoll-attempts"] == "2"
        assert "eu-west cancelled" in answer.headers["server-timing"]
        await until(lambda: it.replicas["eu-west"].disconnects == 1)
        assert metric(it.world, 'atoll_hedges_sent_total{service="echo"} 1.0')
        assert metric(it.world, 'atoll_hedges_won_total{service="echo"} 1.0')
        it.replicas["eu-west"].waits_s = 2.0
        write = await http.post(f"{it.world.url()}/echo/x", headers=FROM_IRELAND)
        assert (write.text, write.headers["atoll-attempts"]) == ("eu-west", "1"), "a write is not hedged"


async def test_without_hedging_the_slow_answer_comes(tmp_path: Path) -> None:
    async with trial(tmp_path, "[hedge]\nenabled = false\n") as it, client() as http:
        await load(it.world, 40, at_once=1)
        it.replicas["eu-west"].waits_s = 0.5
        answer = await http.get(f"{it.world.url()}/echo/x", headers=FROM_IRELAND)
        assert (answer.text, answer.headers["atoll-attempts"]) == ("eu-west", "1")


async def test_a_hedge_that_loses_is_told_to_stop(tmp_path: Path) -> None:
    async with trial(tmp_path, topology=TWO_ATTEMPTS) as it, client() as http:
        await hedged(it)
        it.replicas["us-east"].waits_s = SLOW_S
        waiting = asyncio.ensure_future(http.get(f"{it.world.url()}/echo/x", headers=FROM_IRELAND))
        await until(lambda: len(it.replicas["us-east"].asked) == 1)
        it.replicas["eu-west"].released.set()
        answer = await waiting
        assert (answer.text, answer.headers["atoll-attempts"]) == ("eu-west", "2")
        assert "us-east cancelled" in answer.headers["server-timing"]
        await until(lambda: it.replicas["us-east"].disconnects == 1)


async def test_a_client_that_goes_away_ends_both_attempts(tmp_path: Path) -> None:
    async with trial(tmp_path) as it, client() as http:
        await hedged(it)
        it.all(waits_s=SLOW_S)
        waiting = asyncio.ensure_future(http.get(f"{it.world.url()}/echo/x", headers=FROM_IRELAND))
        await until(lambda: len(it.replicas["us-east"].asked) == 1)
        waiting.cancel()
        await until(lambda: all(it.replicas[region].disconnects == 1 for region in ("eu-west", "us-east")))


async def test_a_region_is_not_asked_before_it_said(tmp_path: Path) -> None:
    async with trial(tmp_path) as it, client() as http:
        replica = it.replicas["eu-west"]
        url = f"{it.world.url('eu-west')}/echo-eu/x"
        replica.retry_after = [b"1"]
        answer = await http.get(url)
        assert (answer.status_code, answer.headers["atoll-attempts"]) == (200, "2")
        assert replica.asked[1] - replica.asked[0] >= 1
        replica.retry_after = [b"15"]
        answer = await http.get(url, headers={"Atoll-Timeout": "14s"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")
        assert answer.headers["atoll-attempts"] == "1", "it would be too late, so the client is told"


async def test_budgets_outlive_a_reload(tmp_path: Path) -> None:
    async with trial(tmp_path, ALONE + "[hedge]\nenabled = false\n") as it:  # a hedge would be paid for
        retry = it.world.entry.stack.retry
        budget = retry.services["echo"].budget
        assert isinstance(budget, RetryBudget)
        stopped = budget._now()
        budget._now = lambda: stopped  # else what was deposited is forgotten after 10 s
        await load(it.world, 100)
        before = retry.statistics()["echo"].budget.balance
        text = it.world.topology_file.read_text().replace("revision = 1", "revision = 2")
        it.world.topology_file.write_text(text + "[retry]\nratio = 0.5\n")
        await until(lambda: it.world.entry.topology.revision == 2)
        assert before == 50
        assert retry.statistics()["echo"].budget.balance == 80
