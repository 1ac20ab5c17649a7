"""Regions are added to a run and removed from it while clients ask and write: everything is real but Ray.

On real Ray clusters the same is done in `live/test_up_again.py`.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import pytest
from tests.integration.plain import NO_AUTHORITIES
from tests.integration.ports import free_base
from tests.integration.state_cells import until
from tests.integration.topologies import with_regions

from atoll import state
from atoll.cell import processes, regions
from atoll.cell.answer import Supervisor
from atoll.cell.client import LaunchOptions, NotRunning, OperationFailed, SupervisorClient, down, launch
from atoll.cell.paths import RunPaths
from atoll.cell.ports import plan_ports
from atoll.cell.prepare import Wish, prepare
from atoll.cell.processes import find_marked
from atoll.cell.run import Run
from atoll.cell.status import RegionState
from atoll.clock import SystemClock
from atoll.rpc import serve_streaming
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.scope import entered
from atoll.topology import load
from atoll_gateway.http.exchange import Receive, Scope, Send
from atoll_gateway.http.server import HttpServer

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[2]
NEW = "us-west"
OLD = ("us-east", "eu-west", "eu-central")
TWO = OLD[:2]
ACCEPTORS = 'acceptors = ["us-east", "eu-west", "us-west"]'
PLACES = {"us-east": "52.86.10.20", "eu-west": "87.32.10.1"}
WITHIN_S = 120.0

NOTES = """
[namespaces.notes]
level = "session"
"""
STOCK = """
[namespaces.stock]
level = "strong"
"""


def _text(names: tuple[str, ...], revision: int, origins: dict[str, str]) -> str:
    """Some regions of the world with an origin in each."""
    world = (ROOT / "infra" / "topologies" / "world.toml").read_text()
    tables = re.split(r"(?m)^(?=\[)", with_regions(world, names, revision))
    kept = [table for table in tables if not table.startswith(("[services", "[namespaces"))]
    shop = '[services.shop]\nkind = "origin"\nroute_prefix = "/shop"\n[services.shop.origins]\n'
    shop += "".join(f'{name} = ["{origins[name]}"]\n' for name in names)
    # A strong namespace needs three regions.
    return "".join(kept) + shop + NOTES + (STOCK if len(names) > 2 else "")


@dataclass
class Origin:
    """A region's service: says where it is."""

    region: str
    server: HttpServer | None = None

    async def start(self) -> str:
        self.server = HttpServer(self)
        await self.server.start()
        return f"http://127.0.0.1:{self.server.address[1]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        body = self.region.encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Deployment:
    """A run, its operator and its clients."""

    run: Run
    operator: SupervisorClient
    file: Path
    origins: dict[str, str]
    answers: Counter[str] = field(default_factory=Counter)
    """Of clients at the entry that stand in the eastern United States, by region."""
    failed: list[str] = field(default_factory=list)

    def edit(self, names: tuple[str, ...], revision: int) -> None:
        text = _text(names, revision, self.origins)
        if NEW in names:
            text = text.replace('level = "strong"', f'level = "strong"\n{ACCEPTORS}')
        self.file.write_text(text)

    async def up(self) -> str:
        return await self.operator.regions(lambda _: None)

    async def refused(self, kind: str = "bad-request") -> str:
        with pytest.raises(OperationFailed) as refusal:
            await self.up()
        assert refusal.value.kind == kind, refusal.value
        return str(refusal.value)

    def access(self, region: str) -> StateAccess:
        """What a replica there has."""
        return StateAccess.open(self.run.paths.region(region).state_wiring, SystemClock(), Random())

    async def ask(self, stop: asyncio.Event) -> None:
        """Through the entry, and straight to a region's gateway."""
        entry = self.run.plan.ports.entry_public.url
        direct = self.run.plan.ports.regions["eu-west"].gateways[0].public.url
        async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=20.0) as http:
            while not stop.is_set():
                for url, place in ((entry, "us-east"), (entry, "eu-west"), (direct, "eu-west")):
                    answer = await http.get(f"{url}/shop/x", headers={"X-Forwarded-For": PLACES[place]})
                    if answer.status_code != 200:
                        self.failed.append(answer.text)
                    self.answers[answer.text] += 1

    async def answered_by(self, region: str) -> None:
        since = self.answers[region]

        async def more() -> bool:
            return self.answers[region] > since

        await until(more, WITHIN_S)

    def listening(self, region: str) -> int:
        """Processes of a region."""
        return len(find_marked(self.run.plan.facts.run, region, folders={}))


async def put(access: StateAccess, key: str) -> None:
    with entered(access.scope()):
        await state.namespace("notes").register(key).set(key)


async def has(access: StateAccess, key: str) -> bool:
    with entered(access.scope()):
        return await state.namespace("notes").register(key).get() == key


async def stocked(access: StateAccess, number: int) -> bool:
    """Puts a number into a strong register and finds it there, if a majority of its acceptors answers."""
    stock = state.strong("stock", model=int)
    with entered(access.scope()), contextlib.suppress(state.Unavailable, state.Unknown):
        await stock.put("sku", number)
        found = await stock.get("sku")
        return found is not None and found.value == number
    return False


@asynccontextmanager
async def deployment(folder: Path, names: tuple[str, ...] = OLD) -> AsyncIterator[Deployment]:
    paths = RunPaths.below(folder)
    paths.root.mkdir(mode=0o700)
    clock = SystemClock()
    own = processes.identify(os.getpid())
    assert own is not None
    servers = {name: Origin(name) for name in (*OLD, NEW)}
    origins = {name: await server.start() for name, server in servers.items()}
    file = folder / "topology.toml"
    file.write_text(_text(names, 1, origins))
    plan = await prepare(paths, Wish(file, None, free_base(2 + len(names))), dict(os.environ), own, clock)
    made = Run(plan, paths, clock, Random(1))
    stop, hurry, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    supervisor = Supervisor(made, clock, stop, ended)
    running = asyncio.create_task(made.run(stop, hurry))
    try:
        async with await serve_streaming(paths.supervisor_socket, supervisor.handle):
            it = Deployment(made, SupervisorClient(paths), file, origins)
            async with asyncio.timeout(120):
                await it.operator.ready(lambda _: None)
            yield it
    finally:
        stop.set()
        ended.set()
        await running
        for server in servers.values():
            assert server.server is not None
            await server.server.close()
    assert not find_marked(plan.facts.run, None, folders={}), "nothing is left"


@asynccontextmanager
async def asking(it: Deployment) -> AsyncIterator[None]:
    stop = asyncio.Event()
    going = asyncio.create_task(it.ask(stop))
    try:
        yield
    finally:
        stop.set()
        await going
    assert not it.failed, f"{len(it.failed)} of {it.answers.total()}: {it.failed[:3]}"


async def _refused_and_nothing_changed(it: Deployment) -> None:
    """What can't be done."""
    before = it.run.plan
    it.edit(("us-east", "eu-west", NEW), 2)
    assert "at once" in await it.refused()
    it.edit((*OLD, NEW), 2)
    block = plan_ports(load(it.file), before.wish.port_base, before.ports).regions[NEW]
    with socket.create_server(("127.0.0.1", block.agent.port)):
        assert f"{NEW}'s agent" in await it.refused()
    with pytest.raises(OperationFailed, match="ends no region"):
        await it.operator.regions(lambda _: None, regions=2)
    moved = it.file.read_text().replace('level = "session"', 'level = "eventual"')
    it.file.write_text(moved)
    assert "namespaces.notes would move" in await it.refused()
    it.file.write_text("nonsense")
    assert "not TOML" in await it.refused()
    it.edit(OLD, 1)
    assert await it.up() == ""
    assert it.run.plan == before
    assert not it.run.paths.region(NEW).root.exists()


async def test_a_region_comes_and_goes_while_clients_ask_and_write(tmp_path: Path) -> None:
    async with deployment(tmp_path) as it, asking(it):
        here = it.access("eu-west")
        for number in range(20):
            await put(here, f"old-{number}")
        await until(lambda: stocked(here, 1), WITHIN_S)
        ports = it.run.plan.ports
        await _refused_and_nothing_changed(it)

        it.edit((*OLD, NEW), 2)
        assert NEW not in (await it.operator.status()).regions, "an edit starts nothing"
        with pytest.raises(OperationFailed, match="atoll up"):
            await it.operator.deploy(lambda _: None)
        assert await it.up() == f"added: {NEW}"
        assert await it.up() == ""
        assert {name: it.run.plan.ports.regions[name] for name in OLD} == ports.regions
        status = await it.operator.status()
        assert {name: region.state for name, region in status.regions.items()} == dict.fromkeys(
            (*OLD, NEW), RegionState.READY
        )
        await it.operator.drain("us-east", 30, lambda _: None)
        await it.answered_by(NEW)
        await it.operator.undrain("us-east")
        there = it.access(NEW)
        assert all([await has(there, f"old-{number}") for number in range(20)])
        await until(lambda: stocked(there, 2), WITHIN_S)
        await it.operator.drain("us-east", 30, lambda _: None)
        await it.answered_by(NEW)
        await put(there, "written there")
        await there.close()

        it.edit(OLD, 3)
        await it.operator.undrain("us-east")
        assert await it.up() == f"removed: {NEW}"
        assert await it.up() == ""
        assert (await it.operator.status()).regions.keys() == set(OLD)
        assert not it.listening(NEW)
        assert not it.run.paths.region(NEW).root.exists()
        assert it.run.plan.ports == ports
        await it.answered_by("us-east")
        for region in OLD:
            left = it.access(region)
            assert await has(left, "written there")
            await until(lambda left=left: stocked(left, 3), WITHIN_S)  # type: ignore[misc]
            await left.close()
        await here.close()


async def test_what_was_interrupted_is_completed_or_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deployment(tmp_path, TWO) as it, asking(it):
        # Its state can't come: the region runs, and has no traffic.
        monkeypatch.setattr(regions, "STATE_S", 2.0)
        complete = regions._complete
        monkeypatch.setattr(regions, "_complete", lambda *_: False)
        it.edit((*TWO, NEW), 2)
        assert "lacks a part of the state" in await it.refused("not-possible")
        half = (await it.operator.status()).regions[NEW]
        assert (half.state, "is being added" in half.detail) == (RegionState.STARTING, True)
        assert not it.answers[NEW]
        monkeypatch.setattr(regions, "_complete", complete)
        monkeypatch.setattr(regions, "STATE_S", 60.0)
        assert await it.up() == f"added: {NEW}"

        # Who is to be removed, and holds on to a request, is not; and nobody else then.
        monkeypatch.setattr(regions, "DRAIN_S", 0.0)
        it.edit(TWO, 3)
        assert "is not drained" in await it.refused("not-drained")
        it.edit((*TWO, NEW), 4)
        assert await it.up() == f"not removed: {NEW}"
        assert await it.up() == ""
        assert (await it.operator.status()).regions[NEW].state is RegionState.READY
        monkeypatch.setattr(regions, "DRAIN_S", 60.0)

        # What it has written can't leave it.
        access = it.access(NEW)
        await it.operator.cut(NEW)
        await put(access, "not sent yet")
        await access.close()
        monkeypatch.setattr(regions, "STATE_S", 3.0)
        it.edit(TWO, 5)
        assert f"lacks writes of {NEW}" in await it.refused("not-possible")
        half = (await it.operator.status()).regions[NEW]
        assert (half.state, "is being removed" in half.detail) == (RegionState.DRAINING, True)
        it.edit((*TWO, NEW), 6)
        assert "is being removed" in await it.refused()
        monkeypatch.setattr(regions, "STATE_S", 60.0)
        it.edit(TWO, 7)
        await it.operator.heal(None)
        assert await it.up() == f"removed: {NEW}"
        for region in TWO:
            left = it.access(region)
            assert await has(left, "not sent yet")
            await left.close()


async def test_control_a_region_that_is_not_waited_for_takes_acknowledged_writes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "_has_all", lambda *_: True)
    async with deployment(tmp_path, ("us-east", NEW)) as it:
        access = it.access(NEW)
        await put(access, "sent")
        here = it.access("us-east")
        await until(lambda: has(here, "sent"), WITHIN_S)
        await it.operator.cut(NEW)
        await put(access, "not sent yet")
        await access.close()
        it.edit(("us-east",), 2)
        assert await it.up() == f"removed: {NEW}"
        assert await has(here, "sent")
        assert not await has(here, "not sent yet")
        await here.close()


async def test_kill_9_of_the_supervisor_in_between_is_completed_by_the_next_up(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    servers = {name: Origin(name) for name in ("us-east", NEW)}
    origins = {name: await server.start() for name, server in servers.items()}
    file = tmp_path / "topology.toml"
    file.write_text(_text(("us-east",), 1, origins))
    options = LaunchOptions(file, port_base=free_base(3), detach=True)
    try:
        operator = await launch(paths, options)
        await operator.ready(lambda _: None)
        file.write_text(_text(("us-east", NEW), 2, origins))
        adding = asyncio.create_task(operator.regions(lambda _: None))

        async def begun() -> bool:
            return NEW in (await operator.status()).regions

        await until(begun, WITHIN_S)
        supervisor = processes.identify((await operator.status()).supervisor_pid)
        assert supervisor is not None
        processes.signal(supervisor, signal.SIGKILL)
        with pytest.raises((OperationFailed, NotRunning)):
            await adding
        operator = await launch(paths, options)
        await operator.ready(lambda _: None)
        status = await operator.status()
        assert {name: region.state for name, region in status.regions.items()} == dict.fromkeys(
            ("us-east", NEW), RegionState.READY
        )
        assert await operator.regions(lambda _: None) == ""
    finally:
        await down(paths, lambda _: None)
        for server in servers.values():
            assert server.server is not None
            await server.server.close()
    assert not find_marked(paths.home, None, folders={})
