"""Replicas that freeze, fail or slow down, before a real gateway: real processes, real signals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.integration.gateways import IRELAND, TOPOLOGY, World, client, until, world
from tests.integration.patient import patience
from tests.integration.ports import free_port

from atoll.resilience.outlier import Ejected
from atoll.topology.wiring import Address
from atoll_gateway.gateway import Gateway
from atoll_gateway.liveness import Liveness
from atoll_gateway.replicas import Replica

ONE_REGION = TOPOLOGY.replace('timeout = "3s"', 'timeout = "60s"\nregions = ["eu-west"]') + (
    "[hedge]\nenabled = false\n"
)
"""Only what this region's replicas do can help a request, and no hedge hides what they do. No deadline ends what is
waited for, however busy the machine is.
"""

SERVER = """
import asyncio, sys

async def serve(reader, writer):
    try:
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            line, *fields = head.decode("latin-1").split("\\r\\n")
            length = next((int(f[15:]) for f in fields if f.lower().startswith("content-length:")), 0)
            await reader.readexactly(length)
            path = line.split(" ")[1]
            if "/sleep/" in path:
                await asyncio.sleep(float(path.split("/sleep/")[1].split("/")[0]))
            if "/half" in path:
                writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 4\\r\\n\\r\\nha")
                await writer.drain()
                await asyncio.sleep(120)
            if "/break" in path:
                break
            status = b"503 Unavailable" if "/503" in path else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\\r\\ncontent-length: 7\\r\\n\\r\\nprocess")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class Process:
    """A replica that is a process of its own, so that it can be stopped."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.address = Address("127.0.0.1", port)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()


@asynccontextmanager
async def process() -> AsyncIterator[Process]:
    port = free_port()
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(port), stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    try:
        assert running.stdout is not None
        assert await running.stdout.readline() == b"ready\n"
        yield Process(running, port)
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


@asynccontextmanager
async def two_replicas(folder: Path, extra: str = "") -> AsyncIterator[tuple[World, Process]]:
    """A world whose only replicas of `echo` are one in this process, and one that is a process of its own."""
    with patience():
        async with process() as other, world(folder, topology=ONE_REGION + extra) as made:
            cell = made.cells["eu-west"]
            here = Address("127.0.0.1", cell.replicas[0].port)
            cell.gateway.replicas.update({"echo": (here, other.address)})
            yield made, other


def known(gateway: Gateway, replica: Process) -> Replica:
    """A replica as the gateway knows it."""
    return next(one for one in gateway.replicas.of("echo") if one.address == replica.address)


def state_of(gateway: Gateway, replica: Process) -> Ejected | None:
    return known(gateway, replica).ejected


def eu_west(made: World) -> tuple[Gateway, str]:
    return made.cells["eu-west"].gateway, f"{made.url('eu-west')}/echo"


async def get(http: httpx.AsyncClient, url: str) -> httpx.Response:
    return await http.get(url, headers={"X-Forwarded-For": IRELAND})


async def burst(http: httpx.AsyncClient, url: str, count: int) -> list[httpx.Response]:
    return await asyncio.gather(*(get(http, url) for _ in range(count)))


def from_process(responses: list[httpx.Response]) -> int:
    return sum(response.text == "process" for response in responses)


async def test_a_frozen_replica_costs_no_get_and_comes_back_when_it_answers(tmp_path: Path) -> None:
    async with two_replicas(tmp_path) as (made, other), client() as http:
        gateway, url = eu_west(made)
        before = await burst(http, url, 40)
        assert 0 < from_process(before) < 40
        other.freeze()
        during = [response for _ in range(5) for response in await burst(http, url, 20)]
        assert [response.status_code for response in during] == [200] * 100
        assert from_process(during) == 0
        assert state_of(gateway, other) is Ejected.STALLED
        assert gateway.replicas.live("echo") == 1
        other.thaw()
        await until(lambda: state_of(gateway, other) is None)
        async with asyncio.timeout(60):
            while not from_process(after := await burst(http, url, 40)):
                assert {response.status_code for response in after} == {200}


async def test_control_without_liveness_gets_hang_on_a_frozen_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def watch(self: Liveness) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Liveness, "watch", watch)
    async with two_replicas(tmp_path) as (made, other), client() as http:
        _, url = eu_west(made)
        other.freeze()
        during = await asyncio.gather(
            *(http.get(url, headers={"X-Forwarded-For": IRELAND, "Atoll-Timeout": "3s"}) for _ in range(20))
        )
        assert 504 in {response.status_code for response in during}


async def test_a_post_on_a_frozen_replica_is_never_sent_twice(tmp_path: Path) -> None:
    async with two_replicas(tmp_path) as (made, other), client() as http:
        gateway, url = eu_west(made)
        other.freeze()
        posts = [
            asyncio.ensure_future(
                http.post(f"{url}/buy", content=b"1", headers={"X-Forwarded-For": IRELAND}, timeout=60.0)
            )
            for _ in range(20)
        ]
        await until(lambda: state_of(gateway, other) is Ejected.STALLED)
        waiting = [post for post in posts if not post.done()]
        assert waiting, "those that may have been executed are left to their deadline"
        other.thaw()
        answers = await asyncio.gather(*posts)
        assert [answer.status_code for answer in answers] == [200] * 20, "and it answers them once it runs on"
        bought = sum(entry[1] == "/echo/buy" for entry in made.seen("eu-west"))
        assert bought + from_process(answers) == 20


async def test_a_short_answer_that_stops_in_the_middle_is_taken_back_too(tmp_path: Path) -> None:
    async with two_replicas(tmp_path) as (made, other), client() as http:
        _, url = eu_west(made)
        halves = asyncio.ensure_future(burst(http, f"{url}/half", 20))
        upstream = known(made.cells["eu-west"].gateway, other).upstream
        await until(lambda: any(one.held and not one.waiting for one in upstream._connections))
        other.freeze()
        assert [response.text for response in await halves] == ["eu-west"] * 20


async def test_a_slow_request_on_a_replica_that_lives_is_left_alone(tmp_path: Path) -> None:
    async with two_replicas(tmp_path) as (made, other), client() as http:
        gateway, url = eu_west(made)
        cell = made.cells["eu-west"]
        gateway.replicas.update({"echo": (other.address,)})
        response = await get(http, f"{url}/sleep/4")  # long enough to be asked twice, and be given up
        assert (response.status_code, response.text) == (200, "process")
        assert response.headers["atoll-attempts"] == "1"
        assert gateway.replicas.statistics()["echo"].ejections == 0
        assert not cell.replicas[0].seen


async def test_one_that_answers_503_is_left_out_and_the_others_serve(tmp_path: Path) -> None:
    # An ejection that outlasts the test: once two are live again, either may be left out.
    outlier = '[outlier]\nfirst = "600s"\nlongest = "600s"\n'
    async with two_replicas(tmp_path, outlier) as (made, other), client() as http:
        gateway, url = eu_west(made)
        made.cells["eu-west"].replicas[0].says = (503, b"no")
        (failing,) = (one for one in gateway.replicas.of("echo") if one.address != other.address)
        async with asyncio.timeout(60):
            while failing.ejected is None:
                await get(http, url)
        assert failing.ejected is Ejected.FAILURES
        assert from_process(await burst(http, url, 20)) == 20
        # The only one left may fail as it likes: it is not left out for that.
        await burst(http, f"{url}/503", 20)
        assert state_of(gateway, other) is None


async def test_a_replica_that_dies_with_many_requests_does_not_close_the_region(tmp_path: Path) -> None:
    async with two_replicas(tmp_path) as (made, other), client() as http:
        _, url = eu_west(made)
        under_way = await many_held(made, other, http, url)
        other.kill()
        made.cells["eu-west"].replicas[0].held.set()
        assert {response.status_code for response in await under_way} == {200}
        assert {response.status_code for response in await burst(http, url, 20)} == {200}
        assert trips(made) == 0


async def test_control_if_its_death_spoke_against_the_region_its_breaker_would_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll_gateway.layers.local._isolated", lambda *_: False)
    async with two_replicas(tmp_path) as (made, other), client() as http:
        _, url = eu_west(made)
        under_way = await many_held(made, other, http, url)
        other.kill()
        made.cells["eu-west"].replicas[0].held.set()
        await under_way
        assert trips(made) > 0


async def many_held(
    made: World, other: Process, http: httpx.AsyncClient, url: str
) -> asyncio.Future[list[httpx.Response]]:
    """Requests under way of which both replicas have many, neither answers any for now."""
    under_way = asyncio.ensure_future(burst(http, f"{url}/sleep/120/hold", 40))
    await until(lambda: sent(made, other) >= 15)
    return under_way


def sent(made: World, replica: Process) -> int:
    """Requests whose bytes have gone out to a replica."""
    return known(made.cells["eu-west"].gateway, replica).upstream.statistics().requests


def trips(made: World) -> int:
    """How often Ireland's breaker for the service has opened at its own gateway."""
    return made.cells["eu-west"].gateway.stack.regions.statistics()["eu-west", "echo"].breaker.trips


async def test_if_all_replicas_refuse_one_that_comes_back_is_used_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, topology=ONE_REGION) as made, client() as http:
        gateway, url = eu_west(made)
        own = made.cells["eu-west"].replicas[0]
        await own.stop()
        for _ in range(5):
            assert (await get(http, url)).status_code == 503
        await own.start()
        await until(lambda: gateway.replicas.live("echo") == 1)
        assert (await get(http, url)).status_code == 200
