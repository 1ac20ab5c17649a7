"""Where a region's replicas are: the table that gateways balance over, and who keeps it fresh.

The table is a hint. Serve names a killed replica for seconds, so whoever uses the table ejects what refuses; and a
dashboard that does not answer says nothing about replicas, so the last table then stays, on disk too.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from pydantic import TypeAdapter, ValidationError

from atoll.clock import Clock
from atoll.serve.client import ServeError
from atoll.serve.status import ServeStatus, TargetGroup
from atoll.topology.wiring import Address, write_private

POLL_S = 1.0
"""How often Serve is asked; an answer takes it 10-20 ms."""
LONGEST_POLL_S = 5.0
"""The most that polls slow down to while there is no answer: how late a dashboard that is back may be noticed."""
SHORTEST_POLL_S = 0.25
"""The least between two polls, however often a refresh is asked for: many requests may be refused at once."""
JITTER = 0.1
"""Polls are spread by this share either way, so that gateways that started together don't ask together."""


class TableSource(StrEnum):
    """Who a table comes from."""

    SERVE = "serve"
    DISK = "disk"
    """Kept by an earlier run of this process; true when it was kept."""


class TableUnreadable(Exception):
    """A kept table is damaged or from another version. There is then no table until Serve says one."""


@dataclass(frozen=True, slots=True)
class ReplicaTable:
    """Replicas of every service of a region."""

    replicas: Mapping[str, tuple[Address, ...]]
    """Service -> its replicas, sorted; none if Serve knows the service but no replica of it runs."""
    proxy: Address
    """Serve's own proxy, the way to a service while no replica is known by address."""
    learned_at: float
    """Wall time, in seconds since the epoch."""
    source: TableSource
    schema: Literal["atoll.replicas/1"] = "atoll.replicas/1"

    def says_same(self, other: "ReplicaTable | None") -> bool:
        """Whether both name the same addresses, whenever and from whomever they were learned."""
        return other is not None and (self.replicas, self.proxy) == (other.replicas, other.proxy)

    def save(self, path: Path) -> None:
        """Replaces the file atomically. Raises `OSError`."""
        write_private(path, _TABLE.dump_json(self, indent=1))


_TABLE = TypeAdapter(ReplicaTable)


def load_table(path: Path) -> ReplicaTable | None:
    """The table that `ReplicaTable.save` kept, None if there is no file. Raises `TableUnreadable`."""
    try:
        table = _TABLE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise TableUnreadable(f"{path} holds no table of replicas and is ignored: {error}") from error
    return replace(table, source=TableSource.DISK)


def table_of(
    status: ServeStatus,
    *,
    replica_host: str | None,
    proxy: Address,
    now: float,
    previous: ReplicaTable | None,
) -> ReplicaTable | None:
    """The table that a status of Serve amounts to; None if the status says nothing about replicas. Pure.

    `replica_host` is where replicas listen if that is not the address that Serve tells (it tells the node's, whatever
    they bind). `now` is wall time. While Serve builds an application anew, after it failed to, and while a new
    controller finds replicas again, it names not all or only its proxy, although the replicas of before serve on (Ray
    2.60): those of the previous table then stay.
    """
    if not status.has_controller:
        return None
    known = {} if previous is None else previous.replicas
    replicas: dict[str, tuple[Address, ...]] = {}
    for name, application in status.applications.items():
        found = _addresses(status.target_groups, name, replica_host)
        if application.recovers or not (found or application.deployments):
            found |= set(known.get(name, ()))
        replicas[name] = tuple(sorted(found, key=lambda address: (address.host, address.port)))
    return ReplicaTable(replicas, proxy, now, TableSource.SERVE)


def _addresses(groups: tuple[TargetGroup, ...], service: str, replica_host: str | None) -> set[Address]:
    return {
        Address(replica_host or target.ip, target.port)
        for group in groups
        if group.app_name == service and group.protocol == "HTTP"
        for target in group.targets
        if target.is_replica
    }


class StatusSource(Protocol):
    """What a watcher needs of `atoll.serve.client.ServeClient`."""

    async def applications(self) -> ServeStatus: ...


@dataclass(frozen=True, slots=True)
class WatcherStatistics:
    """What an `EndpointWatcher` has seen."""

    polls: int
    failures: int
    failures_in_a_row: int
    """Zero while Serve answers."""
    last_error: str
    """Why the last poll failed; empty if it did not."""
    changes: int
    """Tables that differed from the one before, the first included."""
    unsaved: int
    """Tables that could not be kept on disk."""
    source: TableSource | None
    """Who the table in use comes from; None while there is none."""
    confirmed_s_ago: float | None
    """Seconds since Serve last confirmed the table, None if it never did."""
    replicas: Mapping[str, int]
    """Service -> replicas in the table."""


@dataclass(slots=True)
class _Counts:
    polls: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    last_error: str = ""
    changes: int = 0
    unsaved: int = 0
    confirmed_at: float | None = None


class EndpointWatcher:
    """Keeps a region's table of replicas fresh: in memory, on disk, and by telling whoever uses it.

    Starts from the table on disk if there is one. `run` polls until cancelled.
    """

    def __init__(
        self,
        serve: StatusSource,
        *,
        path: Path,
        proxy: Address,
        replica_host: str | None,
        changed: Callable[[ReplicaTable], None],
        clock: Clock,
        chance: random.Random,
        poll_s: float = POLL_S,
    ) -> None:
        """`changed` is called, from within `run`, with every table that names other addresses than the one before,
        the one from disk included.
        """
        self._serve = serve
        self._path = path
        self._proxy = proxy
        self._replica_host = replica_host
        self._changed = changed
        self._clock = clock
        self._chance = chance
        self._poll_s = poll_s
        self._table: ReplicaTable | None = None
        self._counts = _Counts()
        self._asked = asyncio.Event()

    @property
    def table(self) -> ReplicaTable | None:
        """The table in use; None until there is one."""
        return self._table

    def refresh(self) -> None:
        """Asks Serve soon instead of at the next regular poll: call it when a replica refused. Returns at once."""
        self._asked.set()

    async def run(self) -> None:
        """Loads the kept table, then polls until cancelled."""
        self._load()
        while True:
            self._asked.clear()
            await self._poll()
            await self._until_next()

    def statistics(self) -> WatcherStatistics:
        """A snapshot."""
        counts, table = self._counts, self._table
        return WatcherStatistics(
            polls=counts.polls,
            failures=counts.failures,
            failures_in_a_row=counts.failures_in_a_row,
            last_error=counts.last_error,
            changes=counts.changes,
            unsaved=counts.unsaved,
            source=None if table is None else table.source,
            confirmed_s_ago=(
                None if counts.confirmed_at is None else self._clock.monotonic() - counts.confirmed_at
            ),
            replicas={} if table is None else {name: len(found) for name, found in table.replicas.items()},
        )

    def _load(self) -> None:
        try:
            table = load_table(self._path)
        except TableUnreadable as error:
            self._counts.last_error = str(error)
            return
        if table is not None:
            self._table = replace(table, proxy=self._proxy)
            self._counts.changes += 1
            self._changed(self._table)

    async def _poll(self) -> None:
        counts = self._counts
        counts.polls += 1
        try:
            status = await self._serve.applications()
        except ServeError as error:
            self._fail(str(error))
            return
        table = table_of(
            status,
            replica_host=self._replica_host,
            proxy=self._proxy,
            now=self._clock.wall(),
            previous=self._table,
        )
        if table is None:
            self._fail("Ray answers, but has no Serve controller")
            return
        counts.failures_in_a_row = 0
        counts.last_error = ""
        counts.confirmed_at = self._clock.monotonic()
        fresh = not table.says_same(self._table)
        self._table = table
        if fresh:
            counts.changes += 1
            self._changed(table)  # before the disk: requests wait for nothing
            await self._keep(table)

    def _fail(self, reason: str) -> None:
        self._counts.failures += 1
        self._counts.failures_in_a_row += 1
        self._counts.last_error = reason

    async def _keep(self, table: ReplicaTable) -> None:
        try:
            await asyncio.to_thread(table.save, self._path)
        except OSError as error:
            self._counts.unsaved += 1
            self._counts.last_error = f"the table of replicas can't be kept in {self._path}: {error}"

    async def _until_next(self) -> None:
        # Doubles with every failure in a row; the exponent is bounded so that days of them make no huge number.
        slowed = self._poll_s * 2 ** min(self._counts.failures_in_a_row, 8)
        pause = min(slowed, max(LONGEST_POLL_S, self._poll_s)) * self._chance.uniform(1 - JITTER, 1 + JITTER)
        shortest = min(SHORTEST_POLL_S, self._poll_s)
        await asyncio.sleep(shortest)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, pause - shortest)):
                await self._asked.wait()
