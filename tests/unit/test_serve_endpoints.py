import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.serve_documents import PROXY, status

from atoll.clock import ManualClock
from atoll.serve.client import ServeError, Unreachable
from atoll.serve.endpoints import (
    EndpointWatcher,
    ReplicaTable,
    TableSource,
    TableUnreadable,
    load_table,
    table_of,
)
from atoll.serve.status import ReplicaState, ServeStatus

LOOPBACK = "127.0.0.1"


def table(of: ServeStatus, previous: ReplicaTable | None = None, host: str | None = LOOPBACK) -> ReplicaTable:
    found = table_of(of, replica_host=host, proxy=PROXY, now=7.0, previous=previous)
    assert found is not None
    return found


def ports(of: ReplicaTable, service: str) -> list[int]:
    return [address.port for address in of.replicas[service]]


def test_names_every_replica_where_it_listens() -> None:
    found = table(status("running"))
    assert (len(found.replicas["one"]), len(found.replicas["two"])) == (1, 2)
    assert {address.host for addresses in found.replicas.values() for address in addresses} == {LOOPBACK}
    assert (found.proxy, found.learned_at, found.source) == (PROXY, 7.0, TableSource.SERVE)


def test_takes_the_address_that_serve_says_where_replicas_bind_it() -> None:
    assert table(status("running"), host=None).replicas["one"][0].host == "198.51.100.7"


@pytest.mark.parametrize("name", ["starting", "replica-lost"])
def test_serves_proxy_is_no_replica(name: str) -> None:
    before = table(status("running"))
    assert table(status(name), previous=before).replicas["one"] == ()


def test_replicas_stay_while_their_application_is_built_anew() -> None:
    before = table(status("running"))
    found = table(status("rebuilding"), previous=before)
    assert found.replicas == before.replicas
    assert table(status("rebuilding")).replicas["one"] == ()


def test_replicas_stay_when_their_application_could_not_be_built() -> None:
    before = table(status("running"))
    assert table(status("build-failed"), previous=before).replicas == before.replicas


def test_the_old_replicas_stay_until_new_ones_run() -> None:
    before, rolling = table(status("running")), status("rolling")
    assert len(rolling.applications["two"].deployments["ingress"].replicas) > 2
    assert ports(table(rolling), "two") == ports(before, "two")


def recovering(of: ServeStatus) -> ServeStatus:
    """As a controller says that has just started, in the place of one that is gone (Ray 2.60)."""
    return replace(
        of,
        applications={
            name: replace(
                application,
                deployments={
                    which: replace(
                        deployment,
                        replicas=tuple(
                            replace(one, state=ReplicaState.RECOVERING) for one in deployment.replicas
                        ),
                    )
                    for which, deployment in application.deployments.items()
                },
            )
            for name, application in of.applications.items()
        },
        target_groups=(),
    )


def test_replicas_stay_while_a_new_controller_finds_them_again() -> None:
    before = table(status("running"))
    found = table(recovering(status("running")), previous=before)
    assert found.says_same(before)
    half = replace(recovering(status("running")), target_groups=status("running").target_groups)
    assert table(half, previous=before).says_same(before), "those that it has found are no others"
    assert table(recovering(status("running"))).replicas["one"] == (), "it makes none up"


def test_an_application_that_is_gone_has_no_entry() -> None:
    gone = replace(status("running"), applications={"one": status("running").applications["one"]})
    assert set(table(gone, previous=table(status("running"))).replicas) == {"one"}


def test_without_a_controller_nothing_is_said() -> None:
    before = table(status("running"))
    assert table_of(status("no-serve"), replica_host=None, proxy=PROXY, now=0.0, previous=before) is None


def test_a_kept_table_comes_back_and_says_where_from(tmp_path: Path) -> None:
    before = table(status("running"))
    before.save(tmp_path / "replicas.json")
    found = load_table(tmp_path / "replicas.json")
    assert found == replace(before, source=TableSource.DISK)
    assert before.says_same(found)
    assert (tmp_path / "replicas.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", '{"replicas": ', "{}", '{"schema": "atoll.replicas/2"}', "[]"])
def test_a_damaged_table_is_a_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "replicas.json").write_text(content)
    with pytest.raises(TableUnreadable, match=r"replicas\.json holds no table of replicas"):
        load_table(tmp_path / "replicas.json")


def test_no_file_is_no_table(tmp_path: Path) -> None:
    assert load_table(tmp_path / "replicas.json") is None


class Serve:
    """Says what it is told to; `polled` is set by every question."""

    def __init__(self, says: ServeStatus | ServeError) -> None:
        self.says = says
        self.polls = 0
        self._polled = asyncio.Condition()

    async def applications(self) -> ServeStatus:
        async with self._polled:
            self.polls += 1
            self._polled.notify_all()
        if isinstance(self.says, ServeError):
            raise self.says
        return self.says

    async def polled(self, times: int) -> None:
        """Returns when it has been asked so many more times, so what it said before then has been taken up."""
        async with self._polled, asyncio.timeout(5):
            goal = self.polls + times
            await self._polled.wait_for(lambda: self.polls >= goal)


DOWN = Unreachable("http://127.0.0.1:1", "refused")


class World:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "replicas.json"
        self.clock = ManualClock()
        self.tables: list[ReplicaTable] = []

    @asynccontextmanager
    async def watching(self, serve: Serve, poll_s: float = 0.005) -> AsyncIterator[EndpointWatcher]:
        watcher = EndpointWatcher(
            serve,
            path=self.path,
            proxy=PROXY,
            replica_host=LOOPBACK,
            changed=self.tables.append,
            clock=self.clock,
            chance=random.Random(1),
            poll_s=poll_s,
        )
        running = asyncio.create_task(watcher.run())
        try:
            yield watcher
        finally:
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.002)


async def test_tells_and_keeps_a_table_only_when_it_changed(world: World) -> None:
    serve = Serve(status("running"))
    async with world.watching(serve) as watcher:
        await serve.polled(4)
        assert len(world.tables) == 1
        serve.says = status("replica-lost")
        await serve.polled(2)
        assert [len(found.replicas["one"]) for found in world.tables] == [1, 0]
        kept = load_table(world.path)
        assert kept is not None and kept.says_same(watcher.table)
        assert watcher.statistics().changes == 2


async def test_a_dead_dashboard_changes_nothing(world: World) -> None:
    serve = Serve(status("running"))
    async with world.watching(serve) as watcher:
        await serve.polled(2)
        before = watcher.table
        serve.says = DOWN
        await serve.polled(2)
        world.clock.advance(3)
        statistics = watcher.statistics()
        assert watcher.table is not None and watcher.table.says_same(before)
        assert statistics.failures_in_a_row >= 1
        assert statistics.confirmed_s_ago == 3
        assert "does not answer" in statistics.last_error
        serve.says = status("running")
        await until(lambda: watcher.statistics().failures_in_a_row == 0)
    assert len(world.tables) == 1


async def test_a_ray_without_serve_changes_nothing(world: World) -> None:
    serve = Serve(status("running"))
    async with world.watching(serve) as watcher:
        await serve.polled(2)
        serve.says = status("no-serve")
        await serve.polled(2)
        assert watcher.statistics().replicas == {"one": 1, "two": 2}
        assert "no Serve controller" in watcher.statistics().last_error


async def test_a_restart_finds_the_table_though_the_dashboard_is_dead(world: World) -> None:
    table(status("running")).save(world.path)
    serve = Serve(DOWN)
    async with world.watching(serve) as watcher:
        await serve.polled(1)
        statistics = watcher.statistics()
    (found,) = world.tables
    assert len(found.replicas["two"]) == 2
    assert (statistics.source, statistics.confirmed_s_ago) == (TableSource.DISK, None)


async def test_a_table_from_disk_that_serve_confirms_is_no_change(world: World) -> None:
    table(status("running")).save(world.path)
    serve = Serve(status("running"))
    async with world.watching(serve) as watcher:
        await serve.polled(2)
        assert watcher.statistics().source is TableSource.SERVE
    assert len(world.tables) == 1


async def test_a_damaged_table_is_as_none(world: World) -> None:
    world.path.write_text("{")
    serve = Serve(DOWN)
    async with world.watching(serve) as watcher:
        await serve.polled(1)
        assert watcher.table is None
    assert world.tables == []


async def test_a_table_that_cannot_be_kept_is_used_and_counted(world: World) -> None:
    world.path = world.path.parent / "gone" / "replicas.json"
    serve = Serve(status("running"))
    async with world.watching(serve) as watcher:
        await until(lambda: watcher.statistics().unsaved == 1)
        assert watcher.statistics().replicas == {"one": 1, "two": 2}


async def test_a_refresh_does_not_wait_for_the_next_poll(world: World) -> None:
    serve = Serve(status("running"))
    async with world.watching(serve, poll_s=3600) as watcher:
        await until(lambda: watcher.table is not None)
        watcher.refresh()
        watcher.refresh()
        await serve.polled(1)
    assert serve.polls == 2
