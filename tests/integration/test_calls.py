"""Calls from one service to another: through a gateway of the region, on behalf of the client's request."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from tests.integration.gateways import IRELAND, TOPOLOGY, VIRGINIA, World, client, world
from tests.integration.ports import free_port

from atoll.calls import Caller
from atoll.clock import SystemClock
from atoll.middleware import AtollMiddleware
from atoll.sdk import CallFailed, call, current
from atoll.topology.wiring import Address
from atoll_gateway.http.server import HttpServer

WITH_FRONT = (
    TOPOLOGY
    + """
[services.front]
route_prefix = "/front"
import_path = "tests.front:app"
regions = ["us-east"]
timeout = "2s"
"""
)


@dataclass(slots=True)
class Front:
    """A service in Virginia that calls others."""

    world: World
    gateways: tuple[str, ...]


Handler = Callable[[Request], Awaitable[object]]


@asynccontextmanager
async def front(folder: Path, handler: Handler, extra: tuple[str, ...] = ()) -> AsyncIterator[Front]:
    """The harness, with a service in Virginia that answers what `handler` does."""
    async with world(folder, topology=WITH_FRONT) as atoll:
        gateways = (*extra, atoll.url("us-east"))
        api = FastAPI()
        caller = Caller(gateways, SystemClock())
        api.add_middleware(AtollMiddleware, caller=caller)
        api.add_api_route("/front", handler, methods=["GET", "POST"])
        server = HttpServer(api)
        await server.start()
        try:
            cell = atoll.cells["us-east"]
            its = tuple(Address("127.0.0.1", replica.port) for replica in cell.replicas)
            table = dict.fromkeys(("echo", "echo-eu", "echo-eu-strict"), its)
            table["front"] = (Address("127.0.0.1", server.address[1]),)
            cell.gateway.replicas.update(table)
            yield Front(atoll, gateways)
        finally:
            await server.close()
            await caller.close()


async def test_a_call_carries_trace_request_id_criticality_session_place_and_deadline(tmp_path: Path) -> None:
    async def handler(request: Request) -> object:
        answer = await call("echo", "/below", params={"q": "a b"})
        return {"region": answer.text, "id": answer.headers["x-request-id"]}

    async with front(tmp_path, handler) as it, client() as http:
        answer = await http.get(
            it.world.url("us-east") + "/front",
            headers={
                "X-Forwarded-For": VIRGINIA,
                "X-Request-Id": "one-chain",
                "Atoll-Criticality": "critical",
                "Atoll-Session": "s-1",
                "Atoll-Timeout": "1500ms",
                "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
            },
        )
        assert answer.json() == {"region": "us-east", "id": "one-chain"}
        ((method, target, headers, _),) = [seen for seen in it.world.seen("us-east") if seen[1] != "/front"]
    assert (method, target) == ("GET", "/echo/below?q=a+b")
    assert headers["x-request-id"] == "one-chain"
    assert headers["atoll-criticality"] == "critical"
    assert headers["atoll-session"] == "s-1"
    assert headers["traceparent"].split("-")[1] == "a" * 32
    assert 0 < float(headers["x-request-timeout-seconds"]) <= 1.5, "what is left, not the service's own 3 s"


async def test_a_chain_stays_in_the_zones_of_its_client(tmp_path: Path) -> None:
    """Virginia's service calls an EU-only one: it is executed in Ireland, and a forged note opens nothing."""
    seen: list[bytes] = []

    async def handler(request: Request) -> object:
        seen.append(request.headers["atoll-context"].encode())
        answer = await call("echo-eu", headers={"X-Forwarded-For": VIRGINIA})
        return {"region": answer.text}

    async with front(tmp_path, handler) as it, client() as http:
        answer = await http.get(it.world.url("us-east") + "/front", headers={"X-Forwarded-For": IRELAND})
        assert answer.json() == {"region": "eu-west"}
        (_, _, headers, _) = it.world.seen("eu-west")[-1]
        assert headers["atoll-context"].split("|")[2] == "front", "whose budget pays"
        assert "IE" in headers["atoll-context"], "the first client's place holds for the whole chain"
        forged = seen[0].replace(b"|front|", b"|echo|").decode()
        await http.get(it.world.url("us-east") + "/echo", headers={"Atoll-Context": forged})
        (_, _, headers, _) = it.world.seen("us-east")[-1]
        noted = headers["atoll-context"]
        assert noted != forged and "IE" not in noted, "the caller's own address counts"


async def test_a_call_ends_with_its_clients_deadline(tmp_path: Path) -> None:
    failures: list[str] = []

    async def handler(request: Request) -> object:
        try:
            answer = await call("echo", "/hold")
        except CallFailed as error:
            failures.append(str(error))
            raise
        failures.append(f"answered {answer.status_code}")
        raise CallFailed(failures[-1])

    async with front(tmp_path, handler) as it, client() as http:
        answer = await http.get(it.world.url("us-east") + "/front", headers={"Atoll-Timeout": "300ms"})
        assert answer.status_code in {503, 504}
        assert failures in ([], ["answered 504"]) or "0.3" in failures[0] or "within" in failures[0]
        await it.world.cells["us-east"].replicas[0].reached()
        async with asyncio.timeout(60):
            while not it.world.cells["us-east"].gateway.metrics.service("echo").statistics().requests:
                await asyncio.sleep(0.01)


async def test_a_failed_call_that_nobody_catches_is_a_503_that_no_gateway_retries(tmp_path: Path) -> None:
    calls = 0

    async def handler(request: Request) -> object:
        nonlocal calls
        calls += 1
        raise CallFailed("nobody there")

    async with front(tmp_path, handler) as it, client() as http:
        answer = await http.get(it.world.url("us-east") + "/front")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:atoll:problem:call-failed"
        assert answer.headers["atoll-attempts"] == "1" and calls == 1
        assert "atoll-no-retry" not in answer.headers


async def test_a_gateway_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    async def handler(request: Request) -> object:
        return [(await call("echo")).text for _ in range(4)]

    gone = f"http://127.0.0.1:{free_port()}"
    async with front(tmp_path, handler, extra=(gone,)) as it, client() as http:
        answer = await http.get(it.world.url("us-east") + "/front")
        assert answer.json() == ["us-east"] * 4


async def test_an_unknown_service_is_told_and_no_context_means_no_call(tmp_path: Path) -> None:
    async def handler(request: Request) -> object:
        return json.loads((await call("nobody")).text)

    async with front(tmp_path, handler) as it, client() as http:
        answer = await http.get(it.world.url("us-east") + "/front")
        assert answer.json()["status"] == 404
    assert current() is None
