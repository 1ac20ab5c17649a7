"""Faults on replicas: one dies, and whatever Serve starts in its place; the others are left alone."""

import asyncio
import signal
from collections.abc import Sequence

import pytest

from atoll.cell import replica_faults
from atoll.cell.fault_errors import FaultImpossible
from atoll.cell.replica_faults import CrashLoop, ReplicaFaults
from atoll.cell.requests import Fault
from atoll.serve.client import Unreachable
from atoll.serve.status import Replica, ReplicaState


def replica(name: str, pid: int | None = 1, state: ReplicaState = ReplicaState.RUNNING) -> Replica:
    return Replica(name, state, pid)


def test_one_dies_and_each_that_comes_after_the_others_live() -> None:
    loop = CrashLoop([replica("b", 2), replica("a", 1), replica("c", 3)])
    assert [one.replica_id for one in loop.victims([replica("a", 1), replica("b", 2), replica("c", 3)])] == [
        "a"
    ]
    assert loop.victims([replica("b", 2), replica("c", 3)]) == []
    assert [one.pid for one in loop.victims([replica("b", 2), replica("d", 4)])] == [4]


def test_one_that_only_starts_is_waited_for() -> None:
    loop = CrashLoop([replica("a")])
    assert loop.victims([replica("b", 2, ReplicaState.STARTING), replica("c", None)]) == []


def test_there_must_be_one_to_kill() -> None:
    with pytest.raises(FaultImpossible, match="no replica"):
        CrashLoop([replica("a", 1, ReplicaState.STOPPING)])


class Serve:
    """Starts a replica in the place of each that is gone."""

    def __init__(self) -> None:
        self.replicas = [replica("r1", 101), replica("r2", 102)]
        self.sent: list[tuple[int, signal.Signals]] = []
        self.up = True

    async def find(self, service: str) -> Sequence[Replica]:
        if not self.up:
            raise Unreachable("http://dashboard", "gone")
        return [one for one in self.replicas if service == "quote"]

    def send(self, pid: int, number: signal.Signals) -> bool:
        self.sent.append((pid, number))
        there = any(one.pid == pid for one in self.replicas)
        if number is signal.SIGKILL and there:
            self.replicas = [one for one in self.replicas if one.pid != pid]
            self.replicas.append(replica(f"r{pid + 100}", pid + 100))
        return there


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_faults, "POLL_S", 0.001)


async def _until(serve: Serve, kills: int) -> None:
    async with asyncio.timeout(10):
        while len(serve.sent) < kills:
            await asyncio.sleep(0.001)


async def test_a_killed_replica_stays_down_until_healed() -> None:
    serve = Serve()
    faults = ReplicaFaults(serve.find, serve.send)
    await faults.fault(Fault.KILL, "quote")
    await _until(serve, 3)
    serve.up = False  # nobody knows for a while
    await asyncio.sleep(0.01)
    serve.up = True
    await _until(serve, 5)
    await faults.fault(Fault.HEAL, "quote")
    assert [pid for pid, _ in serve.sent][:3] == [101, 201, 301]
    assert 102 not in {pid for pid, _ in serve.sent}, "the other one is spared"
    sent = len(serve.sent)
    await asyncio.sleep(0.02)
    assert len(serve.sent) == sent


async def test_a_frozen_replica_goes_on_when_healed() -> None:
    serve = Serve()
    faults = ReplicaFaults(serve.find, serve.send)
    await faults.fault(Fault.FREEZE, "quote")
    with pytest.raises(FaultImpossible, match="already"):
        await faults.fault(Fault.KILL, "quote")
    await faults.heal()
    await faults.heal()
    assert serve.sent == [(101, signal.SIGSTOP), (101, signal.SIGCONT)]


async def test_a_limping_replica_is_stopped_and_let_go_on_until_healed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica_faults, "LIMP_S", 0.002)
    serve = Serve()
    faults = ReplicaFaults(serve.find, serve.send)
    await faults.fault(Fault.LIMP, "quote", 0.1)
    with pytest.raises(FaultImpossible, match="already"):
        await faults.fault(Fault.FREEZE, "quote")
    await _until(serve, 7)
    await faults.heal("quote")
    sent = list(serve.sent)
    assert {pid for pid, _ in sent} == {101}, "the other one is spared"
    turns = [number for _, number in sent]
    assert turns[:4] == [signal.SIGSTOP, signal.SIGCONT] * 2
    assert turns[-1] is signal.SIGCONT, "it runs"
    await asyncio.sleep(0.02)
    assert serve.sent == sent


async def test_a_limping_replica_that_ends_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_faults, "LIMP_S", 0.002)
    serve = Serve()
    faults = ReplicaFaults(serve.find, serve.send)
    await faults.fault(Fault.LIMP, "quote", 0.1)
    serve.replicas = [replica("r3", 103)]
    await asyncio.sleep(0.05)
    assert len(serve.sent) < 8
    await faults.heal()


async def test_what_can_not_be_done_changes_nothing() -> None:
    serve = Serve()
    faults = ReplicaFaults(serve.find, serve.send)
    with pytest.raises(FaultImpossible, match="no replica"):
        await faults.fault(Fault.KILL, "unknown")
    with pytest.raises(FaultImpossible, match="nothing that can be done"):
        await faults.fault(Fault.FILL, "quote")
    serve.up = False
    with pytest.raises(FaultImpossible, match="Serve can't be asked"):
        await faults.fault(Fault.KILL, "quote")
    assert serve.sent == []
