"""What each layer costs a request, in microseconds, without sockets: the composed stack from ever further in.

Each layer is called with what it would get; what it takes less what the next one takes is its own. The last one sends
to an upstream that answers at once.
"""

import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import uvloop

from atoll.clock import SystemClock
from atoll.topology.wiring import Address, GatewayWiring, read_gateway_wiring
from atoll_gateway.gateway import Gateway
from atoll_gateway.http.connection import EXTENSION, Connection
from atoll_gateway.http.exchange import Message, Scope
from atoll_gateway.message import Layer, Request, Response
from atoll_gateway.upstream import Upstream
from atoll_gateway.upstream_connection import UpstreamConnection, UpstreamResponse
from loadtests.bench.peers import atoll
from loadtests.bench.workbench import Workbench

CALLS = 5000
ROUNDS = 9
_BODY = b"x" * 104
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"104")]
_FIELDS = [(b"host", b"127.0.0.1:8080"), (b"user-agent", b"bench"), (b"accept", b"*/*")]
_INSIDE = ("admission", "idempotency", "routing", "retry", "region", "replicas")

Call = Callable[[], Awaitable[object]]


class _Instant(Upstream):
    """An upstream that has answered before it is asked."""

    async def send(self, *_: object, **__: object) -> UpstreamResponse:
        response = UpstreamResponse(cast(UpstreamConnection, _Nobody()), 200, _HEADERS, len(_BODY))
        response.feed(_BODY)
        response.end()
        return response


class _Nobody:
    """A connection that has nothing to do."""

    def want(self, response: UpstreamResponse) -> None: ...


class _Gateway(Gateway):
    """A gateway before instant upstreams."""

    def _to_replica(self, address: Address) -> Upstream:
        return _Instant(address.host, address.port)


def measure(bench: Workbench) -> Mapping[str, float]:
    """Microseconds of the edge (reading, answer, metrics, access log) and of each layer behind it."""
    file = atoll.write_topology(bench, "layers", {"eu-west": [9]})
    wiring = read_gateway_wiring(atoll.write_wiring(bench, "layers", file, "eu-west", 9))
    return uvloop.run(_measure(wiring, bench.folder / "layers-access.log"))


async def _measure(wiring: GatewayWiring, log: Path) -> Mapping[str, float]:
    gateway = _Gateway(wiring, SystemClock(), random.Random(1), log.open("w"))
    calls = _calls(gateway, await _request(gateway))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):  # in turn, so that a slow moment of the machine hits all of them
        for name, call in calls.items():
            taken[name].append(await _time(call))
        gateway.access_log.flush()
    gateway.close()
    return own_costs({name: statistics.median(times) for name, times in taken.items()})


def own_costs(whole: Mapping[str, float]) -> Mapping[str, float]:
    """What each takes by itself, if each (but the first, the measuring itself) includes those behind it."""
    names = list(whole)
    return {
        name: whole[name] - whole[following]
        for name, following in zip(names[1:], names[2:] + names[:1], strict=True)
    }


def _calls(gateway: Gateway, request: Request) -> dict[str, Call]:
    """The measuring itself, then from the outside in."""

    def fresh() -> Request:
        return replace(request, attempts=[])

    async def nothing() -> None:
        fresh()

    calls: dict[str, Call] = {"nothing": nothing, "edge, answer and log": _through_proxy(gateway)}
    layer: Callable[..., Awaitable[Response]] = gateway.stack.first
    for name in _INSIDE:
        calls[name] = _through(layer, fresh, () if name in _INSIDE[:4] else ("eu-west",))
        layer = getattr(layer, "_next", None) or cast(Layer, gateway.stack.regions._local)  # noqa: SLF001 - it looks inside
    return calls


def _through(
    layer: Callable[..., Awaitable[Response]], fresh: Callable[[], Request], more: tuple[str, ...]
) -> Call:
    async def call() -> None:
        await layer(fresh(), *more)

    return call


def _through_proxy(gateway: Gateway) -> Call:
    connection = Connection(("127.0.0.1", 1))

    async def call() -> None:
        await gateway.proxy(_scope(connection), _no_body, _sink)

    return call


async def _request(gateway: Gateway) -> Request:
    """A request as the edge makes it, and as routing leaves it."""
    connection = Connection(("127.0.0.1", 1))
    scope = _scope(connection)
    service = gateway.edge.service(scope)
    request = await gateway.edge.admit(scope, _no_body, connection, service, gateway.edge.request_id(scope))
    await gateway.stack.first(request)
    return request


def _scope(connection: Connection) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": "/bench/item",
        "raw_path": b"/bench/item",
        "query_string": b"n=1",
        "atoll.target": b"/bench/item?n=1",
        "headers": _FIELDS,
        "extensions": {EXTENSION: connection},
    }


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _sink(_: Message) -> None:
    return


async def _time(call: Call) -> float:
    """Microseconds of processor time of one call."""
    started = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - started) / CALLS * 1e6
