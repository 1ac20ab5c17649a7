"""One real Ray head: it comes up, survives its dashboard, and goes without a trace.

The head is shared by the tests of this file, in their order.
"""

import asyncio
import ipaddress
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
import pytest
import pytest_asyncio
from tests.integration.ports import free_base

from atoll.cell import processes, reaper
from atoll.cell.ray_head import (
    PortRange,
    RayHead,
    RayHeadSettings,
    RayPorts,
    RayProcessDied,
    RayRole,
    RayStartError,
)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="cells run on Linux only"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

APP = """
import os
from fastapi import FastAPI
from ray import serve

api = FastAPI()

@serve.deployment(max_ongoing_requests=64, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class Tiny:
    @api.get("/pid")
    async def pid(self) -> int:
        return os.getpid()

app = Tiny.bind()
"""


def free_ports() -> RayPorts:
    base = free_base(1)
    return RayPorts(
        gcs=base,
        dashboard=base + 1,
        dashboard_agent_http=base + 2,
        dashboard_agent_grpc=base + 3,
        metrics_export=base + 4,
        runtime_env_agent=base + 5,
        dashboard_metrics=base + 6,
        node_manager=base + 7,
        object_manager=base + 8,
        serve_http=base + 9,
        serve_grpc=base + 10,
        workers=PortRange(base + 20, base + 59),
        ingress_http=PortRange(base + 60, base + 79),
        ingress_grpc=PortRange(base + 80, base + 99),
    )


@dataclass(frozen=True)
class Cell:
    """A head with the tiny application on it."""

    head: RayHead
    deaths: AsyncIterator[RayProcessDied]
    rest: httpx.AsyncClient

    async def replica(self) -> str | None:
        """The URL of the one replica, once there is one that serves."""
        details = (await self.rest.get("/api/serve/applications/")).raise_for_status().json()
        if details["applications"].get("tiny", {}).get("status") != "RUNNING":
            return None
        (group,) = (group for group in details["target_groups"] if group["protocol"] == "HTTP")
        (target,) = group["targets"]
        return f"http://{target['ip']}:{target['port']}/tiny/pid"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="atoll-", dir="/tmp"))  # pytest's own are too long for Ray's sockets
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def settings(folder: Path) -> RayHeadSettings:
    services = folder / "services"
    services.mkdir()
    (services / "tiny_service.py").write_text(APP)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(16))
    return RayHeadSettings(
        region="eu-west",
        run=f"{folder}/run",
        ports=free_ports(),
        temp_dir=folder / "ray",
        token_file=token,
        environment={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(services)},
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cell(settings: RayHeadSettings) -> AsyncIterator[Cell]:
    reaper.become_subreaper()
    burying = asyncio.create_task(reaper.reap_adopted())
    head = RayHead(settings)
    await head.start()
    token = settings.token_file.read_text()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{settings.ports.dashboard}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    ) as rest:
        yield Cell(head, head.watch(), rest)
    await head.stop(grace_s=5)
    burying.cancel()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(cell: Cell, settings: RayHeadSettings) -> str:
    applications = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": settings.ports.serve_http},
        "grpc_options": {"port": settings.ports.serve_grpc},
        "applications": [{"name": "tiny", "route_prefix": "/tiny", "import_path": "tiny_service:app"}],
    }
    (await cell.rest.put("/api/serve/applications/", json=applications)).raise_for_status()
    async with asyncio.timeout(120):
        while (url := await cell.replica()) is None:
            await asyncio.sleep(0.1)
    return url


async def test_the_interface_asks_for_the_token(cell: Cell) -> None:
    answer = await cell.rest.get("/api/serve/applications/", headers={"Authorization": ""})
    assert answer.status_code == httpx.codes.UNAUTHORIZED


@pytest.mark.usefixtures("replica")
async def test_only_what_ray_leaves_no_choice_about_listens_beyond_loopback(cell: Cell) -> None:
    open_to_all = [
        process.command[0].partition(".")[0]  # the method that runs, if one does
        for process in cell.head.running()
        for connection in psutil.Process(process.identity.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and not is_loopback(connection.laddr.ip)
    ]
    assert open_to_all == ["ray::ServeReplica:tiny:Tiny"]  # its server for calls between deployments


async def test_the_dashboard_dies_and_comes_back_and_the_replica_notices_nothing(
    cell: Cell, replica: str
) -> None:
    answers: list[int] = []
    served = asyncio.Condition()
    enough = asyncio.Event()

    async def ask() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while not enough.is_set():
                answer = await client.get(replica)  # a refused or cut connection fails the test
                assert answer.status_code == httpx.codes.OK
                async with served:
                    answers.append(answer.json())
                    served.notify_all()

    async def some_more() -> None:
        before = len(answers)
        async with served:
            await served.wait_for(lambda: len(answers) >= before + 100)

    dashboard = next(known for known in cell.head.processes if known.role is RayRole.DASHBOARD)
    others = {known for known in cell.head.processes if known.role is not RayRole.DASHBOARD}
    async with asyncio.TaskGroup() as asking, asyncio.timeout(200):
        for _ in range(4):
            asking.create_task(ask())
        await some_more()
        processes.signal(dashboard.identity, signal.SIGKILL)
        died = await anext(cell.deaths)
        assert died == RayProcessDied(dashboard)
        assert not died.process.role.essential
        await some_more()
        with pytest.raises(httpx.ConnectError):
            await cell.rest.get("/api/serve/applications/")
        await cell.head.restart_dashboard()
        await some_more()
        enough.set()

    assert len(set(answers)) == 1, "another replica took over"
    assert await cell.replica() == replica
    assert others < set(cell.head.processes), "something else was started anew"
    assert {known.role for known in cell.head.processes} == set(RayRole)


async def test_a_taken_port_is_an_error_that_says_so_and_leaves_nothing(
    cell: Cell, settings: RayHeadSettings, folder: Path
) -> None:
    other = RayHead(
        replace(
            settings,
            region="us-east",
            run=f"{folder}/run-2",
            ports=replace(free_ports(), dashboard=settings.ports.dashboard),
            temp_dir=folder / "ray-2",
        )
    )
    with pytest.raises(RayStartError, match=f"region us-east(.|\n)*{settings.ports.dashboard}") as caught:
        await other.start()
    assert "occupied" in caught.value.output
    assert processes.find_marked(f"{folder}/run-2") == []
    assert cell.head.running()  # the other region's head is untouched


@pytest.mark.usefixtures("replica")
async def test_the_death_of_the_raylet_is_told_as_essential(cell: Cell) -> None:
    raylet = next(known for known in cell.head.processes if known.role is RayRole.RAYLET)
    processes.signal(raylet.identity, signal.SIGKILL)
    async with asyncio.timeout(120):
        died = await anext(cell.deaths)
    assert died == RayProcessDied(raylet)
    assert died.process.role.essential


async def test_stop_leaves_nothing_behind(cell: Cell, folder: Path) -> None:
    ended = {process.identity for process in cell.head.running()}
    assert ended
    await cell.head.stop(grace_s=5)
    assert processes.find_marked(str(folder)) == []
    assert not any(processes.is_running(identity) for identity in ended)
    await cell.head.stop()  # nothing left to do


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
