"""Deployer and watcher on one real Ray head: what is deployed runs, what fails says why, the table follows.

The head is shared by the tests of this file, in their order.
"""

import asyncio
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.integration.live.test_ray_head import free_ports

from atoll.cell import processes, reaper
from atoll.cell.ray_head import RayHead, RayHeadSettings, RayRole
from atoll.clock import SystemClock
from atoll.serve.applications import ServeSettings, application_set
from atoll.serve.client import ServeClient, Unreachable
from atoll.serve.code import code_versions
from atoll.serve.deploy import Deployer, DeploymentFailed, DeployProgress
from atoll.serve.document import ApplicationSet
from atoll.serve.endpoints import EndpointWatcher, ReplicaTable, TableSource
from atoll.serve.store import SetStore
from atoll.topology import Topology, parse
from atoll.topology.wiring import Address, ServeAccess

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="cells run on Linux only"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

PACKAGE = "atoll_tiny_shop"
APP = """
import os
from fastapi import FastAPI
from ray import serve

api = FastAPI()

@serve.deployment(name="ingress", ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class Tiny:
    def __init__(self, args: dict) -> None:
        if args.get("broken"):
            raise RuntimeError("the shop has no cities")

    @api.get("/who")
    async def who(self) -> dict:
        marks = {name: os.environ[name] for name in ("ATOLL_REGION", "ATOLL_ZONE", "ATOLL_SERVICE")}
        return {"pid": os.getpid(), "edition": "EDITION", **marks}

def app(args: dict) -> serve.Application:
    return Tiny.bind(args)
"""
TOPOLOGY = f"""
schema = "atoll.topology/1"
name = "tiny"
revision = 1
[zones.eu]
countries = ["IE"]
[regions.eu-west]
title = "Ireland"
latitude = 53.35
longitude = -6.26
zone = "eu"
[services.one]
route_prefix = "/one"
import_path = "{PACKAGE}:app"
[services.two]
route_prefix = "/two"
import_path = "{PACKAGE}:app"
[services.two.replicas]
minimum = 2
[autoscaling]
downscale_delay = "1s"
"""


@dataclass(frozen=True)
class Region:
    """A head, what is deployed to it, and a watcher that follows."""

    head: RayHead
    access: ServeAccess
    client: ServeClient
    deployer: Deployer
    watcher: EndpointWatcher
    tables: list[ReplicaTable]
    folder: Path

    def wanted(self, topology: Topology) -> ApplicationSet:
        settings = ServeSettings(
            http=self.access.proxy,
            grpc_port=self.head.settings.ports.serve_grpc,
            code=code_versions(topology),
        )
        return application_set(topology, "eu-west", settings)

    def replicas(self, service: str) -> tuple[Address, ...]:
        table = self.watcher.table
        return () if table is None else table.replicas.get(service, ())


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="atoll-", dir="/tmp"))  # pytest's own are too long for Ray's sockets
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def topology(folder: Path) -> Iterator[Topology]:
    """Two small services, importable here and in the head."""
    write_edition(folder, "first")
    sys.path.insert(0, str(folder / "services"))
    yield parse(TOPOLOGY)
    sys.path.remove(str(folder / "services"))


def write_edition(folder: Path, edition: str) -> None:
    package = folder / "services" / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(APP.replace("EDITION", edition))


@asynccontextmanager
async def watching(
    client: ServeClient, access: ServeAccess, path: Path, tables: list[ReplicaTable]
) -> AsyncIterator[EndpointWatcher]:
    watcher = EndpointWatcher(
        client,
        path=path,
        proxy=access.proxy,
        replica_host=access.replica_host,
        changed=tables.append,
        clock=SystemClock(),
        chance=random.Random(1),
        poll_s=0.25,
    )
    running = asyncio.create_task(watcher.run())
    yield watcher
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def region(folder: Path, topology: Topology) -> AsyncIterator[Region]:
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(16))
    settings = RayHeadSettings(
        region="eu-west",
        run=f"{folder}/run",
        ports=free_ports(),
        temp_dir=folder / "ray",
        token_file=token,
        environment={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(folder / "services"),
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        },
    )
    reaper.become_subreaper()
    burying = asyncio.create_task(reaper.reap_adopted())
    head = RayHead(settings)
    await head.start()
    access = ServeAccess(
        dashboard=Address("127.0.0.1", settings.ports.dashboard),
        token_file=token,
        replica_host="127.0.0.1",
        proxy=Address("127.0.0.1", settings.ports.serve_http),
    )
    tables: list[ReplicaTable] = []
    async with (
        ServeClient.of(access) as client,
        watching(client, access, folder / "replicas.json", tables) as watcher,
    ):
        store = SetStore(folder / "serve-applied.json", folder / "serve-good.json")
        deployer = Deployer(client, store, SystemClock(), timeout_s=90)
        yield Region(head, access, client, deployer, watcher, tables, folder)
    await head.stop(grace_s=5)
    burying.cancel()


async def until(holds: Callable[[], bool], within_s: float = 120) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.05)


async def who(address: Address, service: str) -> dict[str, str | int]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer: dict[str, str | int] = (
            (await client.get(f"{address.url}/{service}/who")).raise_for_status().json()
        )
    return answer


async def test_services_are_deployed_and_their_replicas_answer(region: Region, topology: Topology) -> None:
    heard: list[DeployProgress] = []
    deployed = await region.deployer.deploy(region.wanted(topology), heard.append)
    assert deployed.changed
    assert str(heard[-1]) == "one 1/1 running, two 2/2 running"
    await until(lambda: (len(region.replicas("one")), len(region.replicas("two"))) == (1, 2))
    for service in ("one", "two"):
        answers = [await who(address, service) for address in region.replicas(service)]
        assert len({answer["pid"] for answer in answers}) == len(answers)
        for answer in answers:
            assert answer["ATOLL_REGION"] == "eu-west"
            assert answer["ATOLL_ZONE"] == "eu"
            assert answer["ATOLL_SERVICE"] == service
    assert (await who(region.access.proxy, "one"))["ATOLL_SERVICE"] == "one"
    assert await region.client.healthy()


async def test_the_same_set_again_does_nothing(region: Region, topology: Topology) -> None:
    before = region.replicas("one")
    assert not (await region.deployer.deploy(region.wanted(topology))).changed
    assert region.replicas("one") == before


async def test_edited_code_is_rolled_out_without_a_gap(region: Region, topology: Topology) -> None:
    seen = len(region.tables)
    write_edition(region.folder, "second")
    assert (await region.deployer.deploy(region.wanted(topology))).changed
    running = len((await region.client.applications()).applications["two"].deployments["ingress"].replicas)
    assert running == 2
    await until(lambda: bool(region.replicas("one")) and len(region.replicas("two")) == 2)
    for service in ("one", "two"):
        for address in region.replicas(service):
            assert (await who(address, service))["edition"] == "second"
    assert all(table.replicas[name] for table in region.tables[seen:] for name in ("one", "two"))


async def test_a_broken_service_fails_with_its_own_error_and_rollback_heals(
    region: Region, topology: Topology
) -> None:
    before = region.replicas("one")
    broken = replace(
        topology,
        services={**topology.services, "one": replace(topology.services["one"], arguments={"broken": True})},
    )
    with pytest.raises(DeploymentFailed) as caught:
        await region.deployer.deploy(region.wanted(broken))
    assert "one" in caught.value.reason
    assert 'raise RuntimeError("the shop has no cities")' in str(caught.value)
    assert region.replicas("one") == before
    assert (await who(before[0], "one"))["edition"] == "second"
    assert (await region.deployer.rollback()).changed
    assert not (await region.deployer.deploy(region.wanted(topology))).changed
    assert (await who(region.replicas("one")[0], "one"))["edition"] == "second"


async def test_a_killed_replica_leaves_the_table_and_its_successor_enters(region: Region) -> None:
    (victim,) = region.replicas("one")
    pid = (await who(victim, "one"))["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    region.watcher.refresh()
    await until(lambda: victim not in region.replicas("one"))
    await until(lambda: bool(region.replicas("one")))
    assert (await who(region.replicas("one")[0], "one"))["pid"] != pid


async def test_replicas_are_raised_and_let_go_of_without_restarting_one(
    region: Region, topology: Topology
) -> None:
    async def pids(service: str) -> dict[str, int | None]:
        status = await region.client.applications()
        replicas = status.applications[service].deployments["ingress"].replicas
        return {replica.replica_id: replica.pid for replica in replicas}

    seen = len(region.tables)
    one, two = await pids("one"), await pids("two")
    assert await region.deployer.raise_to({"one": 2})
    assert not (await region.deployer.deploy(region.wanted(topology))).changed, "it is what is to run"
    raised = await pids("one")
    assert len(raised) == 2
    assert raised.items() > one.items()
    await until(lambda: len(region.replicas("one")) == 2)
    assert await region.deployer.raise_to({})
    await until(lambda: len(region.replicas("one")) == 1)
    assert (await pids("one")).items() <= raised.items()
    assert await pids("two") == two
    assert all(table.replicas[name] for table in region.tables[seen:] for name in ("one", "two"))


async def test_a_dead_dashboard_changes_nothing(region: Region) -> None:
    before = region.watcher.table
    assert before is not None
    dashboard = next(known for known in region.head.processes if known.role is RayRole.DASHBOARD)
    processes.signal(dashboard.identity, signal.SIGKILL)
    await until(lambda: region.watcher.statistics().failures_in_a_row >= 2)
    assert not await region.client.healthy()
    with pytest.raises(Unreachable):
        await region.client.applications()
    assert region.watcher.table is before
    for address in before.replicas["two"]:
        assert (await who(address, "two"))["ATOLL_SERVICE"] == "two"
    restarted: list[ReplicaTable] = []
    async with watching(region.client, region.access, region.folder / "replicas.json", restarted) as watcher:
        await until(lambda: watcher.statistics().failures >= 1)
        assert watcher.table is not None
        assert watcher.table.says_same(before)
        assert watcher.table.source is TableSource.DISK
