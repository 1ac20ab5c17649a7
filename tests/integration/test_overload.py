"""Overload of real gateways: who gets a place, who goes elsewhere, and who is turned away at the door."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.integration.gateways import IRELAND, TOKEN, TOPOLOGY, VIRGINIA, World, client, until, world

from atoll.resilience.criticality import Criticality
from atoll.topology.wiring import Address
from atoll_gateway.headers import write_head
from atoll_gateway.http.exchange import Receive, Scope, Send
from atoll_gateway.http.server import HttpServer
from atoll_gateway.upstream import PoolSettings, Upstream

SOLO = """
[services.solo]
route_prefix = "/solo"
import_path = "tests.echo:app"
regions = ["us-east"]
"""

CRITICAL = {"atoll-criticality": "critical"}
SHEDDABLE = {"atoll-criticality": "sheddable"}


def cap(made: World, region: str, most: int | None, gateway: str | None = None) -> None:
    """What a gateway (by default the region's own) takes `region` to hold."""
    holder = made.cells[gateway or region].gateway if gateway != "entry" else made.entry
    holder.stack.regions._capacity = lambda of, _service: most if of == region else None
    holder.stack.regions.poll()


@dataclass
class Workers:
    """A server that works on so many requests at a time, and makes the others wait."""

    at_once: int
    seconds: float
    served: Counter[str] = field(default_factory=Counter)
    worked: list[tuple[float, float]] = field(default_factory=list)
    """When each request got a place and when it gave it back."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Streams end once this is set."""

    def __post_init__(self) -> None:
        self.places = asyncio.Semaphore(self.at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        if scope["path"].endswith("/stream"):
            await send(head)
            await send({"type": "http.response.body", "body": b"begun\n", "more_body": True})
            await self.gate.wait()
            await send({"type": "http.response.body", "body": b"ended\n"})
            return
        async with self.places:
            began = time.monotonic()
            await asyncio.sleep(self.seconds)
            self.worked.append((began, time.monotonic()))
        self.served[dict(scope["headers"]).get(b"atoll-criticality", b"").decode()] += 1
        await send({**head, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def busy(self, since: float, until: float) -> float:
        """The share of the places that was taken. On a slow machine all takes longer, and this stays what it is."""
        taken = sum(max(0.0, min(ended, until) - max(began, since)) for began, ended in self.worked)
        return taken / (self.at_once * (until - since))


@asynccontextmanager
async def served_by(made: World, workers: Workers, service: str) -> AsyncIterator[None]:
    """Puts another server in the place of the own region's replica of a service."""
    server = HttpServer(workers)
    await server.start(port=0)
    cell = made.cells["us-east"]
    table = {name: (Address("127.0.0.1", cell.replicas[0].port),) for name in cell.gateway.topology.services}
    cell.gateway.replicas.update({**table, service: (Address("127.0.0.1", server.address[1]),)})
    yield
    await server.close()


# --- three times what it can do


@dataclass
class Tally:
    """What came of the requests of each criticality."""

    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    """Of all requests, those before it was warm included."""
    counted: tuple[float, float] = (0.0, 0.0)
    """Since when and until when requests were counted."""

    def share(self, criticality: Criticality) -> float:
        name = criticality.name.lower()
        return self.answered[name] / self.asked[name]


AT_ONCE, WORK_S = 8, 0.04
CAPACITY = AT_ONCE / WORK_S
SURGE_S = 1.6
ARREARS_S = 0.01
"""Requests that are overdue by more are left out: when the machine stands still, what follows must be no burst."""
MIX = ("critical",) * 2 + ("default",) * 4 + ("sheddable",) * 4


async def surge(url: str, seconds: float, warm_s: float) -> Tally:
    """Three times the capacity, as Poisson arrivals of which a fifth are critical; counted once it is warm."""
    chance = random.Random(11)
    address = httpx.URL(url)
    upstream = Upstream(
        address.host,
        address.port or 80,
        settings=PoolSettings(max_connections=2000, connect_timeout_s=30, acquire_timeout_s=30),
    )
    heads = {
        name: write_head("GET", b"/solo/x", [(b"host", b"x"), (b"atoll-criticality", name.encode())])
        for name in MIX
    }
    tally = Tally()
    problems = b"application/problem+json"

    async def ask(name: str, counts: bool) -> None:
        answer = await upstream.send(heads[name], None, method="GET")
        content = await answer.read()
        tally.answers += answer.status == 200
        if not counts:
            return
        tally.asked[name] += 1
        if answer.status == 200:
            tally.answered[name] += 1
            return
        assert answer.status == 503
        headers = dict(answer.headers)
        assert headers[b"content-type"] == problems
        assert headers[b"retry-after"] == b"1"
        assert headers[b"atoll-attempts"] == b"0"
        assert headers[b"x-request-id"]
        tally.problems[next(kind for kind in ("overloaded", "full") if kind.encode() in content)] += 1

    asked: list[asyncio.Task[None]] = []
    start = time.monotonic()
    due = start
    while due < start + warm_s + seconds:
        due = max(due, time.monotonic() - ARREARS_S) + chance.expovariate(3 * CAPACITY)
        if (pause := due - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        asked.append(asyncio.create_task(ask(chance.choice(MIX), due > start + warm_s)))
    tally.counted = start + warm_s, time.monotonic()
    await asyncio.gather(*asked)
    upstream.close()
    return tally


@dataclass(frozen=True, slots=True)
class Overload:
    """What came of a surge."""

    tally: Tally
    busy: float
    """The share of its time that the server worked meanwhile."""


async def overload(folder: Path, bulkhead: str, reported: int | None = 4 * AT_ONCE) -> Overload:
    async with world(folder, topology=TOPOLOGY + SOLO + bulkhead) as made:
        workers = Workers(AT_ONCE, WORK_S)
        cap(made, "us-east", reported)
        async with served_by(made, workers, "solo"):
            tally = await surge(made.url("us-east"), SURGE_S, 1.0 if reported else 1.5)
            lane = made.cells["us-east"].gateway.stack.regions.statistics()["us-east", "solo"]
    print(tally, lane, workers.busy(*tally.counted))
    assert lane.bulkhead.in_flight == lane.bulkhead.waiting == 0
    assert tally.answers == workers.served.total(), "no work is done in vain"
    return Overload(tally, workers.busy(*tally.counted))


async def busiest(folder: Path, reported: int | None = 4 * AT_ONCE) -> Overload:
    """The first surge that kept the server busy. One that falls into a standstill of the machine does not; a gateway
    that lets capacity lie idle never does.
    """
    seen = []
    for attempt in range(3):
        (place := folder / str(attempt)).mkdir()
        seen.append(await overload(place, "", reported))
        if seen[-1].busy > 0.75:
            break
    return seen[-1]


async def test_at_three_times_capacity_critical_requests_are_unharmed_and_goodput_stays(
    tmp_path: Path,
) -> None:
    seen = await busiest(tmp_path)
    tally = seen.tally
    assert tally.share(Criticality.CRITICAL) > 0.9
    assert tally.share(Criticality.SHEDDABLE) < tally.share(Criticality.DEFAULT)
    assert tally.share(Criticality.SHEDDABLE) < 0.2
    assert seen.busy > 0.75
    assert tally.problems["overloaded"] > 0.3 * tally.problems.total(), "many are turned away at the door"


async def test_a_region_that_reports_no_capacity_is_found_out_by_its_latency(tmp_path: Path) -> None:
    seen = await busiest(tmp_path, None)
    tally = seen.tally
    assert tally.share(Criticality.CRITICAL) > 0.8
    assert tally.share(Criticality.SHEDDABLE) < 0.2
    assert seen.busy > 0.75


async def test_partitions_alone_keep_critical_requests_unharmed(tmp_path: Path) -> None:
    tally = (await overload(tmp_path, "[bulkhead]\nwaiting = 0\n")).tally
    assert tally.share(Criticality.CRITICAL) > 0.85


async def test_control_without_partitions_they_fail_like_all_others(tmp_path: Path) -> None:
    equal = "[bulkhead]\nwaiting = 0\nsheddable_share = 1.0\ndefault_share = 1.0\n"
    tally = (await overload(tmp_path, equal)).tally
    assert tally.share(Criticality.CRITICAL) < 0.7


# --- one at a time


@asynccontextmanager
async def held(made: World, url: str, count: int) -> AsyncIterator[None]:
    """Requests that are with a replica and stay there."""
    replicas = [replica for cell in made.cells.values() for replica in cell.replicas]

    def arrived() -> int:
        return sum(target.endswith("/hold") for replica in replicas for _, target, _, _ in replica.seen)

    before = arrived()
    async with client() as http:
        tasks = [asyncio.create_task(http.get(url, headers=CRITICAL)) for _ in range(count)]
        await until(lambda: arrived() == before + count)
        yield
        for replica in replicas:
            replica.held.set()
        assert [answer.status_code for answer in await asyncio.gather(*tasks)] == [200] * count


async def test_a_full_region_spills_at_once_the_least_critical_first(tmp_path: Path) -> None:
    async with world(tmp_path) as made, client() as http:
        url = made.url("us-east")
        assert (await http.get(f"{url}/echo/x")).headers["atoll-region"] == "us-east"
        cap(made, "us-east", 10)
        async with held(made, f"{url}/echo/hold", 7):
            regions = [
                (await http.get(f"{url}/echo/x", headers=headers)).headers["atoll-region"]
                for headers in (SHEDDABLE, {}, CRITICAL)
            ]
            assert regions == ["eu-west", "us-east", "us-east"]
            async with held(made, f"{url}/echo/hold", 3):
                answer = await http.get(f"{url}/echo/x", headers=CRITICAL)
                assert answer.headers["atoll-region"] == "eu-west"
                assert answer.headers["atoll-attempts"] == "1"
                assert '"us-east full"' in answer.headers["server-timing"]


async def test_what_every_region_would_turn_away_is_turned_away_at_the_door(tmp_path: Path) -> None:
    topology = TOPOLOGY + SOLO + '[bulkhead]\nwaiting = 1\nwait = "5s"\n'
    async with world(tmp_path, topology=topology) as made, client() as http:
        url = f"{made.url('us-east')}/solo"
        assert (await http.get(f"{url}/x")).status_code == 200
        cap(made, "us-east", 1)
        lanes = made.cells["us-east"].gateway.stack.regions
        bulkhead = lanes._lanes["us-east", "solo"].bulkhead
        async with held(made, f"{url}/hold", 1):
            waiting = asyncio.create_task(http.get(f"{url}/x"))
            await until(lambda: bulkhead.waiting == 1)
            kinds = []
            for _ in range(3):
                refused = await http.get(f"{url}/x")
                assert refused.status_code == 503
                assert refused.headers["retry-after"] == "1"
                assert refused.headers["atoll-attempts"] == "0"
                assert refused.headers["x-request-id"] == refused.json()["request_id"]
                kinds.append(refused.json()["type"].rsplit(":", 1)[1])
            assert "overloaded" in kinds[1:]
            # A more critical one is not turned away: it takes the place of the one that waits.
            critical = asyncio.create_task(http.get(f"{url}/x", headers=CRITICAL))
            assert (await waiting).status_code == 503
        assert (await critical).status_code == 200
        assert (await http.get(f"{url}/x")).status_code == 200


async def test_when_more_is_asked_than_all_regions_take_the_least_critical_are_turned_away(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as made, client() as http:
        url = f"{made.url('us-east')}/echo/x"
        board = made.cells["us-east"].gateway.board
        board.pressure = lambda _service, _zones: 1.1  # type: ignore[assignment, method-assign]
        answer = await http.get(url, headers=SHEDDABLE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["type"] == "urn:atoll:problem:overloaded"
        assert (await http.get(url)).status_code == 200
        board.pressure = lambda _service, _zones: 1.0  # type: ignore[assignment, method-assign]
        assert (await http.get(url, headers=SHEDDABLE)).status_code == 200


async def test_a_region_that_keeps_failing_is_asked_by_one_request_at_a_time(tmp_path: Path) -> None:
    """The only region that there is: whether it has come back is asked all the time, and by nobody else."""
    async with world(tmp_path, topology=TOPOLOGY + SOLO) as made, client() as http:
        for _ in range(5):
            assert (await http.post(f"{made.url('us-east')}/solo/502")).status_code == 502
        async with held(made, f"{made.url('us-east')}/solo/hold", 1):
            answer = await http.get(f"{made.url('us-east')}/solo/x")
            assert answer.json()["type"] == "urn:atoll:problem:breaker-open"
            assert 1 <= int(answer.headers["retry-after"]) <= 5
            assert answer.headers["atoll-attempts"] == "0"
            # A replica that has been silent for a second may have been asked whether it is alive.
            assert "/solo/x" not in [target for _, target, _, _ in made.seen("us-east")]
            other = await http.get(f"{made.url('us-east')}/echo/x")
            assert other.status_code == 200, "another service's is closed"
        answer = await http.get(f"{made.url('us-east')}/solo/x")
        assert answer.status_code == 200, "the one that asked was answered, so it is closed again"


async def test_a_forwarded_request_passes_the_same_bulkhead_with_its_criticality(tmp_path: Path) -> None:
    async with world(tmp_path) as made, client(headers={"x-forwarded-for": VIRGINIA}) as http:
        own = f"{made.url('us-east')}/echo"
        assert (await http.get(f"{made.url()}/echo/x")).headers["atoll-region"] == "us-east"
        cap(made, "us-east", 10)
        async with held(made, f"{own}/hold", 8):
            least = await http.get(f"{made.url()}/echo/x", headers=SHEDDABLE)
            assert least.headers["atoll-region"] == "eu-west"
            assert least.headers["atoll-attempts"] == "1"
            most = await http.get(f"{made.url()}/echo/x", headers=CRITICAL)
            assert most.headers["atoll-region"] == "us-east"
            assert made.seen("us-east")[-1][2]["atoll-criticality"] == "critical"


def in_flight(made: World, region: str, service: str) -> Callable[[], int]:
    gateway = made.cells[region].gateway
    return lambda: gateway.stack.regions.statistics()[region, service].bulkhead.in_flight


async def test_a_stream_holds_its_place_until_it_ends_or_its_client_leaves(tmp_path: Path) -> None:
    async with world(tmp_path, topology=TOPOLOGY + SOLO) as made, client() as http:
        workers = Workers(1, 0.0)
        url = f"{made.url('us-east')}/solo/stream"
        async with served_by(made, workers, "solo"):
            async with http.stream("GET", url) as response:
                lines = response.aiter_lines()
                assert await anext(lines) == "begun"
                taken = in_flight(made, "us-east", "solo")
                assert taken() == 1
                workers.gate.set()
                assert await anext(lines) == "ended"
            await until(lambda: taken() == 0)
            workers.gate.clear()
            async with http.stream("GET", url) as response:
                assert await anext(response.aiter_lines()) == "begun"
                assert taken() == 1
            await until(lambda: taken() == 0)


async def test_a_client_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        async with client() as http:
            leaving = asyncio.create_task(http.get(f"{made.url('us-east')}/echo/hold"))
            await made.cells["us-east"].replicas[0].reached()
            taken = in_flight(made, "us-east", "echo")
            assert taken() == 1
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: taken() == 0)


async def test_metrics_tell_of_bulkheads_and_breakers(tmp_path: Path) -> None:
    async with world(tmp_path) as made, client(headers={"x-forwarded-for": IRELAND}) as http:
        await http.get(f"{made.url('eu-west')}/echo/x")
        admin = made.cells["eu-west"].wiring.admin.url
        metrics = (await http.get(f"{admin}/-/metrics", headers={"authorization": f"Bearer {TOKEN}"})).text
        labels = '{region="eu-west",service="echo"}'
        for line in (
            f"atoll_bulkhead_limit{labels}",
            f"atoll_bulkhead_in_flight{labels} 0.0",
            f"atoll_bulkhead_waiting{labels} 0.0",
            'atoll_bulkhead_shed_total{criticality="sheddable",region="eu-west",service="echo"} 0.0',
            f"atoll_breaker_open{labels} 0.0",
            f"atoll_breaker_trips_total{labels} 0.0",
        ):
            assert line in metrics


@pytest.mark.parametrize("value", ["urgent", "CRITICAL", ""])
async def test_an_unknown_criticality_is_refused(tmp_path: Path, value: str) -> None:
    async with world(tmp_path) as made, client() as http:
        answer = await http.get(f"{made.url('us-east')}/echo/x", headers={"atoll-criticality": value})
    assert answer.status_code == 400
