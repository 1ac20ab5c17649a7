"""The gate of a region's state store, on real servers: each start begins an epoch before anybody is let in."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from redis.exceptions import AuthenticationError, RedisError
from tests.integration.ports import free_base

from atoll.cell.backoff import RestartPolicy
from atoll.cell.managed import ManagedProcess
from atoll.cell.paths import RegionPaths, RunPaths
from atoll.cell.port_check import first_taken
from atoll.cell.ports import plan_ports
from atoll.cell.processes import ProcessId
from atoll.cell.secrets import ensure_secret
from atoll.cell.specs import store_spec
from atoll.cell.state_gate import StateGate
from atoll.cell.valkey import StoreKind, Valkey
from atoll.cell.wiring import WardenConfig
from atoll.clock import SystemClock
from atoll.secrets import read_secret
from atoll.state.kind import Kind
from atoll.state.marker import ensure_marker
from atoll.state.store import CellChange
from atoll.state.valkey_store import ValkeyStore
from atoll.state.vector import epoch_of
from atoll.stores import connect, ping
from atoll.topology import load

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def config(tmp_path: Path) -> WardenConfig:
    """A region as the supervisor prepares it."""
    topology = load(TOPOLOGY)
    ports = plan_ports(topology, free_base(4))
    while first_taken(ports, topology) is not None:
        ports = plan_ports(topology, free_base(4))
    run = RunPaths.below(tmp_path)
    run.prepare(tuple(topology.regions))
    files = run.region("us-east")
    for secret in (files.state_password, files.cache_password):
        ensure_secret(secret)
    return WardenConfig(
        run="a/b",
        region="us-east",
        root=run.root,
        topology_file=TOPOLOGY,
        regions=None,
        ports=ports.regions["us-east"],
        agents=ports.agents_of("us-east"),
        ray_folder=tmp_path,
        supervisor=ProcessId(1, 1),
        environment={},
    )


def paths(config: WardenConfig) -> RegionPaths:
    return RunPaths(config.root).region(config.region)


@asynccontextmanager
async def running(config: WardenConfig) -> AsyncIterator[ManagedProcess]:
    """The region's state store, kept up as a warden does."""
    spec = store_spec(config, StoreKind.STATE)
    process = ManagedProcess(spec, SystemClock(), Random(), RestartPolicy(base_s=0.05, cap_s=0.1))
    task = asyncio.create_task(process.run())
    try:
        async with asyncio.timeout(60):
            await process.wait_ready()
        yield process
    finally:
        await process.stop()
        await task


@asynccontextmanager
async def client(config: WardenConfig) -> AsyncIterator[ValkeyStore]:
    """As any process of the region opens its store."""
    password = read_secret(paths(config).state_password)
    address = config.ports.state
    async with ValkeyStore(connect(address, password), connect(address, password), config.region) as store:
        yield store


async def write(config: WardenConfig, value: bytes = b"1") -> int:
    """Writes; the epoch that the write is of."""
    async with client(config) as store:
        return epoch_of((await store.write("carts", Kind.REGISTER, "k", [CellChange("", value)])).dot.actor)


async def test_a_store_that_is_ready_takes_writes_of_its_first_epoch(config: WardenConfig) -> None:
    async with running(config):
        marker = ensure_marker(paths(config).state_marker)
        assert await write(config) == marker.epoch > 0
        assert (marker.losses, marker.opening) == (0, False)
        assert paths(config).state_marker.stat().st_mode & 0o777 == 0o600


async def test_every_start_begins_an_epoch_crashes_included(config: WardenConfig) -> None:
    async with running(config) as process:
        epochs = [await write(config)]
        for _ in range(2):
            pid = process.status().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await back(process)
            epochs.append(await write(config))
        process.kill()
        await process.wait_ended()
        process.heal()
        await back(process)
        epochs.append(await write(config))
    async with running(config):
        epochs.append(await write(config))
    assert epochs == sorted(set(epochs))
    assert ensure_marker(paths(config).state_marker).losses == 0


async def test_nobody_gets_in_before_the_epoch_has_begun(
    config: WardenConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = asyncio.Event()
    open_it = StateGate.open

    async def opening(self: StateGate) -> bool:
        return held.is_set() and await open_it(self)

    monkeypatch.setattr(StateGate, "open", opening)
    password = read_secret(paths(config).state_password)
    spec = store_spec(config, StoreKind.STATE)
    process = ManagedProcess(spec, SystemClock(), Random(), RestartPolicy(base_s=0.05, cap_s=0.1))
    task = asyncio.create_task(process.run())
    refused = 0
    try:
        async with connect(config.ports.state, password) as someone, asyncio.timeout(60):
            while refused < 3:
                try:
                    await someone.set("idempotency", "x")
                except AuthenticationError:
                    refused += 1
                except RedisError:  # the server is only coming up
                    await asyncio.sleep(0.02)
            held.set()
            await process.wait_ready()
        async with connect(config.ports.state, password) as someone:
            assert await someone.set("idempotency", "x")
        configuration = Valkey(StoreKind.STATE, config.ports.state, paths(config).state).config_file
        assert password not in configuration.read_text()
    finally:
        await process.stop()
        await task


async def test_without_an_opening_password_of_its_own_a_store_lets_everybody_in_at_once(
    config: WardenConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = read_secret(paths(config).state_password)
    monkeypatch.setattr("atoll.cell.specs.token_hex", lambda _: password)

    async def never(self: StateGate) -> bool:
        return False

    monkeypatch.setattr(StateGate, "open", never)
    process = ManagedProcess(store_spec(config, StoreKind.STATE), SystemClock(), Random())
    task = asyncio.create_task(process.run())
    try:
        async with connect(config.ports.state, password) as someone, asyncio.timeout(60):
            while not await ping(someone):
                await asyncio.sleep(0.02)
            assert await someone.set("idempotency", "x")
    finally:
        await process.stop()
        await task


async def test_a_lost_disk_is_noticed_and_its_epochs_are_not_issued_again(
    config: WardenConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(config):
        before = await write(config)
        async with client(config) as store:
            await store.complete()
    marker = paths(config).state_marker
    ahead = before + 10_000  # as if the clock had been ahead then
    written = json.loads(marker.read_bytes())
    marker.write_text(json.dumps({**written, "epoch": ahead}))
    shutil.rmtree(paths(config).state)
    paths(config).state.mkdir()
    async with running(config):
        assert await write(config) > ahead
        assert ensure_marker(marker).losses == 1
        assert "lost its disk" in caplog.text
        async with client(config) as store:
            assert not (await store.statistics()).complete
    async with running(config):
        assert ensure_marker(marker).losses == 1, "counted once"


async def test_a_store_of_somebody_else_is_refused_and_why_is_said_once(
    config: WardenConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(config):
        await write(config)
    marker = paths(config).state_marker
    marker.unlink()  # so the region takes another store for its own
    spec = store_spec(config, StoreKind.STATE)
    process = ManagedProcess(spec, SystemClock(), Random())
    task = asyncio.create_task(process.run())
    try:
        async with asyncio.timeout(60):
            while "can't be opened" not in caplog.text:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert caplog.text.count("can't be opened") == 1
        assert "us-east" in caplog.text and "IDENTITY" in caplog.text
        assert not process.ever_ready
    finally:
        await process.stop()
        await task


async def test_a_marker_that_can_t_be_read_opens_nothing(config: WardenConfig) -> None:
    paths(config).state_marker.write_text("{")
    gate = StateGate("us-east", config.ports.state, "a", "b", paths(config).state_marker)
    assert not await gate.open()


async def back(process: ManagedProcess) -> None:
    """Until it was restarted and is ready."""
    async with asyncio.timeout(60):
        await process.wait_ended()
        await process.wait_ready()
