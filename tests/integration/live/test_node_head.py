"""A region on machines of their own, with real Ray: its head is lost, and one of its workers leaves."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from tests.integration.node_machines import (
    Machine,
    Running,
    addresses,
    eventually,
    running,
    start,
    topology,
    write_secrets,
)
from tests.integration.ports import free_base

START_S = 150.0
QUOTE = "/quote?from=IE&to=DE&weight_g=80"
SERVICES = """
[services.quote]
route_prefix = "/quote"
import_path = "atoll_services.quote.app:app"
[services.quote.replicas]
minimum = 1
maximum = 2
"""
SINGLE = (
    *(
        "gcs",
        "dashboard",
        "serve_http",
        "serve_grpc",
        "gcs_store",
        "dashboard_agent_http",
        "dashboard_agent_grpc",
    ),
    *("metrics_export", "runtime_env_agent", "dashboard_metrics", "node_manager", "object_manager"),
)


def ports(common: int, own: int) -> str:
    """Ray listens on all addresses of a machine, and all of them are this one: `own` is no other's."""
    shared = dict(zip(SINGLE[:5], range(common, common + 5), strict=True))
    single = shared | dict(zip(SINGLE[5:], range(own, own + 7), strict=True))
    ranges = {"workers": own + 20, "ingress_http": own + 120, "ingress_grpc": own + 160}
    lines = [f"{name} = {port}" for name, port in single.items()]
    lines += [f"{name} = [{first}, {first + 39}]" for name, first in ranges.items()]
    return "[ports]\n" + "\n".join(lines) + "\n"


def replicas(worker: Running) -> set[int]:
    """Processes of Serve's replicas on a worker's machine."""
    found = set()
    for process in worker.children():
        with suppress(psutil.Error):
            if "ServeReplica" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def deployed(head: Machine) -> int:
    """How often a head has found its services as the topology says."""
    return (head.folder / "head.log").read_text().count('"services run"')


@asynccontextmanager
async def asked(gateway: Machine) -> AsyncIterator[Counter[str]]:
    """Somebody asks ten times a second; what became of it."""
    seen: Counter[str] = Counter()

    async def ask() -> None:
        while True:
            try:
                answer = await gateway.ask(QUOTE)
                seen["answered" if answer.is_success else answer.json()["detail"]] += 1
            except httpx.HTTPError as error:
                seen[type(error).__name__] += 1
            await asyncio.sleep(0.1)

    asking = asyncio.create_task(ask())
    try:
        yield seen
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Pytest's own are too long for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="atoll-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.timeout(300)
async def test_a_region_outlives_its_head_and_a_worker_that_leaves(short_path: Path) -> None:
    """One story, since its start is what takes time."""
    main, *others = addresses(3)
    base = free_base(2)
    file = short_path / "topology.toml"
    file.write_text(topology({"eu-west": main}, SERVICES))
    write_secrets(short_path, ("eu-west",))
    region = Machine("eu-west", main, short_path / "m", file, ports=ports(base, base + 10))
    region.write("1", "tls = false")
    first, second = (
        Machine("eu-west", address, short_path / f"w{number}", file, ports=ports(base, base + 300 * number))
        for number, address in enumerate(others, start=1)
    )
    first.write("w1", "tls = false", "cpus = 2")
    second.write("w2", "tls = false", "cpus = 2")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(region, "cache", "state", "gcs-store", "gateway"))
        heads = await stack.enter_async_context(AsyncExitStack())
        head = await heads.enter_async_context(start(region, "head"))
        await head.until("READY=1", START_S)
        workers = {one: await stack.enter_async_context(start(one, "worker")) for one in (first, second)}
        await asyncio.gather(*(worker.until("READY=1", START_S) for worker in workers.values()))

        async def answers() -> bool:
            return (await region.ask(QUOTE)).status_code == 200

        await eventually(answers, START_S)
        before = {machine: replicas(worker) for machine, worker in workers.items()}
        assert len(set().union(*before.values())) == 1, "the head's machine runs no replica"

        async with asked(region) as seen:
            # The head is lost, with all that it has started, and another one takes over what runs.
            ray = head.children()
            head.process.kill()
            for process in ray:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            await head.process.wait()
            times = deployed(region)
            next_head = await heads.enter_async_context(start(region, "head"))
            await next_head.until("READY=1", START_S)

            async def taken_over() -> bool:
                return deployed(region) > times

            await eventually(taken_over, START_S)
            assert {machine: replicas(worker) for machine, worker in workers.items()} == before

            # The worker that has the replica leaves: it starts elsewhere first.
            (leaves,) = (machine for machine, its in before.items() if its)
            (stays,) = workers.keys() - {leaves}
            status, said = await leaves.atoll("drain", "--deadline", "40")
            assert status == 0, said
            assert await asyncio.wait_for(workers[leaves].process.wait(), 60) == 0
            assert replicas(workers[stays])
            await eventually(answers)

        assert seen.keys() == {"answered"}, seen
        assert seen["answered"] > 50
        # So that its end has not to wait for a place for its replica.
        await stays.atoll("drain", "--deadline", "3")
