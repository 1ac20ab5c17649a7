"""The figures of a region's state, gathered from its store, its replication and its proposer."""

import asyncio

from atoll.agent.state import StateAgent
from atoll.cell.state_report import PeerLag, StateReport, StrongReport
from atoll.state.errors import StateError
from atoll.state.replication import ReplicationStatistics
from atoll.state.store import StoreStatistics
from atoll.state.strong.registers import RegistersStatistics

STORE_TIMEOUT_S = 1.0
"""A store that is frozen must not hold up the report of the rest of its cell."""


async def gather(agent: StateAgent) -> StateReport | None:
    """A snapshot; None while the store does not answer."""
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            store = await agent.store.statistics()
    except (StateError, OSError, TimeoutError):
        return None
    return report(store, *agent.statistics())


def report(
    store: StoreStatistics, replication: ReplicationStatistics, strong: RegistersStatistics
) -> StateReport:
    """Puts the parts together. Pure."""
    conflicts: dict[str, int] = {}
    for (namespace, _), count in store.conflicts.items():
        conflicts[namespace] = conflicts.get(namespace, 0) + count
    return StateReport(
        complete=store.complete,
        peers={
            peer: PeerLag(
                connected=peer in replication.connected,
                staleness_s=None if lag.staleness_ms is None else lag.staleness_ms / 1000.0,
                p50_s=lag.p50_s,
                p99_s=lag.p99_s,
                behind=lag.behind,
            )
            for peer, lag in replication.lag.items()
        },
        conflicts=conflicts,
        log_entries=store.log_entries,
        log_bytes=store.log_bytes,
        tombstones=store.tombstones,
        digest_mismatches=replication.watch.mismatches,
        resyncs=replication.watch.transfers,
        resyncs_failed=replication.watch.failed,
        clock_offset_s=replication.clock.offset_ms / 1000.0,
        writes_refused=store.refused,
        skewed=store.futures,
        session_waits=store.sessions.waits,
        session_waits_behind=store.sessions.behind,
        session_waited_s=store.sessions.waited_ms / 1000.0,
        strong=StrongReport(
            changes=strong.changes,
            reads=strong.reads,
            commits=strong.commits,
            warm_commits=strong.warm_commits,
            ballots=strong.ballots,
            ballots_per_commit=strong.ballots / strong.commits if strong.commits else None,
            no_majority=strong.no_majority,
        ),
    )
