"""Runs a gateway: opens its listeners, keeps its watchers going, and ends without losing a request."""

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TextIO

from atoll.clock import Clock
from atoll.heap import settle_heap
from atoll.serve.client import ServeClient
from atoll.serve.endpoints import EndpointWatcher
from atoll.tls import Serving
from atoll.topology.wiring import Address, GatewayWiring
from atoll_gateway.answering import send_whole
from atoll_gateway.answers import Answers
from atoll_gateway.control import admin_app, public_app
from atoll_gateway.dispatch import Admin, Peer, Public
from atoll_gateway.gateway import Gateway
from atoll_gateway.http.exchange import Application, Receive, Scope, Send
from atoll_gateway.http.limits import Limits
from atoll_gateway.http.server import HttpServer
from atoll_gateway.keys.desk import KeyDesk
from atoll_gateway.peer_report import PEER_REPORT
from atoll_gateway.reload import WiringFile

log = logging.getLogger("atoll.gateway")

POLL_S = 0.25
"""How often the topology file and the drain file are looked at."""

LAME_DUCK_S = 1.5
"""How long a gateway that is about to end still serves after it has told its peers: three of their probes."""

DRAIN_S = 20.0
"""How long requests under way may take when the gateway ends."""

SETTLE_S = 5.0
"""How long it then goes on writing down what came of keyed requests; leases see to the rest."""

PUBLIC_LIMITS = Limits(body_bytes=None)
"""How long a body may be is the service's to say; the edge sees to it."""

PEER_LIMITS = Limits(
    header_bytes=32 * 1024, header_count=128, body_bytes=None, header_timeout_s=60.0, keep_alive_s=75.0
)
"""Peers have checked the client's request already, and add headers of their own."""


class ListenError(Exception):
    """A listener's address can't be had."""


async def run(
    wiring: GatewayWiring,
    clock: Clock,
    chance: random.Random,
    access_log: TextIO | None,
    wiring_file: WiringFile | None = None,
) -> None:
    """Runs a gateway until SIGTERM or SIGINT, then drains it. A second signal ends it at once. `wiring_file` tells of
    regions that come and go.
    """
    gateway = Gateway(wiring, clock, chance, access_log)
    stop = asyncio.Event()
    hurry = asyncio.Event()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    async with serving(gateway, clock, chance, wiring_file) as servers:
        settle_heap()
        log.info("gateway serves", extra={"gateway": wiring.name, "public": str(wiring.public)})
        await stop.wait()
        await _end(gateway, servers, hurry)


@asynccontextmanager
async def serving(
    gateway: Gateway, clock: Clock, chance: random.Random, wiring_file: WiringFile | None = None
) -> AsyncIterator[list[HttpServer]]:
    """Has a gateway serve for as long as the block runs; what is under way at its end is cut.

    Raises `ListenError` if an address can't be had.
    """
    servers = await _listen(gateway, Answers(gateway), clock)
    watchers = [
        asyncio.ensure_future(watcher)
        for watcher in (
            gateway.peers.watch(),
            gateway.liveness.watch(),
            _poll(gateway, wiring_file),
            gateway.access_log.run(),
            gateway.rate_limits.share(),
            _watch_replicas(gateway, clock, chance),
        )
    ]
    try:
        yield servers
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        for server in servers:
            await server.close()
        gateway.close()
        await gateway.close_stores()


async def _listen(gateway: Gateway, answers: Answers, clock: Clock) -> list[HttpServer]:
    wiring = gateway.wiring
    listeners: list[tuple[Address, Application, Limits, Serving | None]] = [
        (wiring.public, Public(public_app(answers), gateway.proxy), PUBLIC_LIMITS, None),
        (wiring.admin, Admin(gateway.admin_token, admin_app(answers)), Limits(), None),
    ]
    if wiring.peer is not None:
        keys = KeyDesk(gateway.keys, gateway.homes.allows)
        tls = None if gateway.tls is None else gateway.tls.serving(lambda: gateway.topology.regions)
        peer = Peer(gateway.peer_token, tls, _hello, _Health(answers), keys, gateway.proxy)
        limits = PEER_LIMITS if tls is None else replace(PEER_LIMITS, max_age_s=tls.max_age_s)
        listeners.append((wiring.peer, peer, limits, tls))
    servers: list[HttpServer] = []
    for address, application, limits, tls in listeners:
        server = HttpServer(application, limits=limits, clock=clock)
        try:
            await server.start(host=address.host, port=address.port, tls=tls)
        except OSError as error:
            for started in servers:
                await started.close()
            raise ListenError(f"{wiring.name} can't listen on {address}: {error.strerror}") from error
        servers.append(server)
    return servers


async def _end(gateway: Gateway, servers: list[HttpServer], hurry: asyncio.Event) -> None:
    """Tells peers, serves on until they have heard, then lets what is under way finish."""
    gateway.draining.leave()
    log.info("gateway leaves", extra={"gateway": gateway.wiring.name})
    ending = asyncio.ensure_future(_leave(gateway, servers))
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({ending, hurried}, return_when=asyncio.FIRST_COMPLETED)
    for task in (ending, hurried):
        task.cancel()
    await asyncio.gather(ending, hurried, return_exceptions=True)


async def _leave(gateway: Gateway, servers: list[HttpServer]) -> None:
    await asyncio.sleep(LAME_DUCK_S)
    await asyncio.gather(*(server.drain(DRAIN_S) for server in servers))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            await gateway.settling.finish()


async def _poll(gateway: Gateway, wiring_file: WiringFile | None) -> None:
    while True:
        await asyncio.sleep(POLL_S)
        if wiring_file is not None:
            wiring_file.poll(gateway.rewire)
        gateway.poll()


async def _watch_replicas(gateway: Gateway, clock: Clock, chance: random.Random) -> None:
    """Keeps the table of replicas fresh, from the one that the last run kept on: Serve's status may be down."""
    access = gateway.wiring.serve
    if access is None:
        return
    async with ServeClient.of(access) as client:
        watcher = EndpointWatcher(
            client,
            path=gateway.wiring.state_dir / "replicas.json",
            proxy=access.proxy,
            replica_host=access.replica_host,
            changed=lambda table: gateway.replicas.update(table.replicas),
            clock=clock,
            chance=chance,
        )
        gateway.replicas.ask_anew = watcher.refresh
        await watcher.run()


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send_whole(send, 200, b"application/json", b"{}")


class _Health:
    """Answers a peer's probe."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_whole(send, 200, b"application/json", PEER_REPORT.dump_json(self._answers.peer_report()))
