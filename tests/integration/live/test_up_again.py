"""A region is added to a run and removed from it again, on real Ray clusters, while requests and writes go on."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import pytest
from tests.integration.live.regions import Load, Run

from atoll import state
from atoll.clock import SystemClock
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.scope import entered
from loadtests.drills.processor import Processor
from loadtests.drills.verdict import TOO_BUSY

pytestmark = pytest.mark.timeout(600)

NEW = "ap-northeast"
OLD = ("eu-west", "eu-central", "us-east")
FILE = Path("infra/topologies/residency.toml")

TOKYO = """
[zones.apac]
countries = ["JP"]
[regions.ap-northeast]
title = "Tokyo"
latitude = 35.68
longitude = 139.69
zone = "apac"
[[links]]
between = ["us-east", "ap-northeast"]
rtt_ms = 165
[[links]]
between = ["eu-west", "ap-northeast"]
rtt_ms = 232
[[links]]
between = ["eu-central", "ap-northeast"]
rtt_ms = 240
"""

REQUESTS = (
    ("jp", "/quote?from=JP&to=IE&weight_g=120&wait_ms=200"),  # some are always on their way
    ("jp", "/catalog/nearest?latitude=35.68&longitude=139.69"),
    ("us", "/catalog/search?q=rich"),
    ("ie", "/quote-eu?from=IE&to=DE&weight_g=80"),
)
RATE = 5.0


async def _atoll(run: Run, *words: str) -> tuple[int, str]:
    """A command of the operator's, while requests go on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "atoll.cli", *words, cwd=run.folder, env=run.environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def _status(run: Run) -> dict[str, dict[str, object]]:
    status, said = await _atoll(run, "status", "--json")
    assert status == 0, said
    regions: dict[str, dict[str, object]] = json.loads(said)["regions"]
    return regions


async def _until(condition: Callable[[], Awaitable[bool]], within_s: float = 180.0) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.2)


async def _in_tokyo(load: Load, *, served_there: bool) -> None:
    """Returns when the latest requests of clients in Tokyo were all answered by the new region, or none was."""
    since = len(load.answers)

    async def now() -> bool:
        latest = [answer.region for answer in load.answers[since:] if answer.place == "jp"]
        return len(latest) >= 10 and {region == NEW for region in latest[-10:]} == {served_there}

    await _until(now)


class Replica:
    """What a replica of a region has of its state."""

    def __init__(self, run: Run, region: str) -> None:
        self._access = StateAccess.open(run.paths.region(region).state_wiring, SystemClock(), Random())

    @classmethod
    @asynccontextmanager
    async def of(cls, run: Run, region: str) -> AsyncIterator["Replica"]:
        made = cls(run, region)
        try:
            yield made
        finally:
            await made._access.close()

    async def put(self, key: str) -> None:
        with entered(self._access.scope()):
            await state.namespace("notes").register(key).set(key)

    async def has(self, key: str) -> bool:
        with entered(self._access.scope()):
            return await state.namespace("notes").register(key).get() == key

    async def stock(self, put: int) -> bool:
        """Puts a number into a strong register and reads it, if its acceptors let one."""
        stock = state.strong("stock", model=int)
        with entered(self._access.scope()), suppress(state.Unavailable, state.Unknown):
            await stock.put("sku", put)
            found = await stock.get("sku")
            assert found is not None and found.value == put
            return True
        return False


def test_a_region_is_added_and_removed_while_requests_run(residency_run: Run) -> None:
    asyncio.run(_add_and_remove(residency_run))


async def _add_and_remove(run: Run) -> None:
    file = run.folder / FILE
    before = file.read_text()
    load = Load(run.entry, RATE, REQUESTS)
    async with Replica.of(run, "eu-west") as here:
        for number in range(20):
            await here.put(f"old-{number}")
        await _until(lambda: here.stock(1))
    going = asyncio.ensure_future(load.run())
    try:
        await _in_tokyo(load, served_there=False)
        file.write_text(_with_tokyo(before))
        await _refused_until_up(run)
        processor = Processor()
        status, said = await _atoll(run, "up", "--topology", str(FILE))
        too_late = any(words in said for words in ("Ray does not start", "Serve did not run the set within"))
        if status == 3 and too_late and (busy := processor.busy()) > TOO_BUSY:
            pytest.skip(f"inconclusive: a fourth Ray did not start with {busy:.0%} of the machine in use")
        assert status == 0, said + run.logs()
        assert f"added: {NEW}" in said
        await _in_tokyo(load, served_there=True)
        regions = await _status(run)
        assert regions.keys() == {*OLD, NEW}
        assert regions[NEW]["state"] == "ready", regions[NEW]
        async with Replica.of(run, NEW) as there:
            assert all([await there.has(f"old-{number}") for number in range(20)])
            await _until(lambda: there.stock(2))
            await there.put("written in Tokyo")
        file.write_text(before.replace("revision = 1", "revision = 3"))
        status, said = await _atoll(run, "up", "--topology", str(FILE))
        assert status == 0, said + run.logs()
        assert f"removed: {NEW}" in said
        await _in_tokyo(load, served_there=False)
    finally:
        load.stop()
        await going
    assert not load.failed(), f"{len(load.failed())} of {len(load.answers)}: {load.failed()[:3]}{run.logs()}"
    assert (await _status(run)).keys() == set(OLD)
    assert not [process for process in run.marked() if NEW in process], "nothing of it is left"
    assert not (run.folder / ".atoll" / NEW).exists()
    for region in OLD:
        async with Replica.of(run, region) as left:
            assert await left.has("written in Tokyo"), "what it had acknowledged is elsewhere"
            await _until(lambda: left.stock(3))
    status, said = await _atoll(run, "up", "--detach", "--topology", str(FILE))
    assert (status, "runs here already" in said) == (0, True), said


async def _refused_until_up(run: Run) -> None:
    """Nobody takes the file up by himself: no address leads to the new region yet."""

    async def said() -> bool:
        gateways = [
            gateway
            for region in (await _status(run)).values()
            for gateway in region["gateways"]  # type: ignore[attr-defined]
        ]
        return all(f"({NEW})" in (gateway["topology_error"] or "") for gateway in gateways)

    await _until(said)
    status, said_so = await _atoll(run, "deploy")
    assert status == 3
    assert "atoll up" in said_so


def _with_tokyo(text: str) -> str:
    """The next revision: a region more, in a zone of its own, and an acceptor in it."""
    return (
        text.replace("revision = 1", "revision = 2").replace(
            'level = "strong"', 'level = "strong"\nacceptors = ["eu-west", "us-east", "ap-northeast"]'
        )
        + TOKYO
    )
