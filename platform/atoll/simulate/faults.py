"""Puts faults on a simulated world and takes them off again. Faults of the same kind may overlap."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from atoll.simulate.cell import Cell, GatewaySlot
from atoll.simulate.network import Network
from atoll.simulate.record import Record, Spans
from atoll.simulate.replica import SimulatedReplica
from atoll.simulate.scenario import Fault, FaultKind

Step = Callable[[], None]


class Faults:
    """The faults of a scenario on its cells and links. Those of clients are in their arrivals already."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        cells: Mapping[str, Cell],
        network: Network,
        record: Record,
        began: float,
    ) -> None:
        """`began` is when the scenario did, on the loop's time."""
        self._loop = loop
        self._cells = cells
        self._network = network
        self._record = record
        self._began = began

    def schedule(self, fault: Fault, end_s: float) -> None:
        """Lets a fault begin and end when it is to; at `end_s` at the latest, so that a run can settle."""
        at = self._began + fault.at_s
        until = self._began + min(fault.until_s, end_s)
        self._note(fault, at, until)
        for begin, end in self._steps(fault):
            if fault.period_s:
                moment = at
                while moment < until:
                    self._loop.call_at(moment, begin)
                    self._loop.call_at(min(until, moment + fault.period_s / 2), end)
                    moment += fault.period_s
            else:
                self._loop.call_at(at, begin)
                self._loop.call_at(until, end)

    def _note(self, fault: Fault, at: float, until: float) -> None:
        record = self._record
        record.disturbed += [at, until]
        if fault.kind in (FaultKind.FROZEN_REPLICA, FaultKind.REGION_FREEZE):
            still = [replica.name for replica in self._replicas(fault)]
            if fault.kind is FaultKind.REGION_FREEZE:
                still.append(fault.region)
            for name in still:
                record.frozen.setdefault(name, Spans()).add(at, until)
        match fault.kind:
            case FaultKind.PARTITION | FaultKind.SLOW_LINK | FaultKind.LINK_LOSS:
                for ends in self._chosen(fault):
                    record.cuts.setdefault(ends, Spans()).add(at, until)
            case FaultKind.SURGE | FaultKind.RETRY_STORM:
                pass
            case FaultKind.GATEWAY_STALL | FaultKind.REGION_FREEZE:
                for slot in self._gateways(fault):
                    record.stalls.setdefault(slot.name, Spans()).add(at, until)
                record.trouble.setdefault(fault.region, Spans()).add(at, until)
            case _:
                record.trouble.setdefault(fault.region, Spans()).add(at, until)

    def _steps(self, fault: Fault) -> Iterator[tuple[Step, Step]]:
        """What begins and what ends a fault."""
        match fault.kind:
            case FaultKind.REGION_LOSS | FaultKind.FLAPPING_REGION:
                cell = self._cells[fault.region]
                yield from ((slot.kill, slot.restart) for slot in cell.gateways)
                yield from ((replica.kill, replica.start) for replica in cell.every_replica())
            case FaultKind.REGION_FREEZE:
                cell = self._cells[fault.region]
                yield from ((slot.stall, slot.go_on) for slot in cell.gateways)
                yield from ((replica.freeze, replica.thaw) for replica in cell.every_replica())
            case FaultKind.REGION_DRAIN:
                cell = self._cells[fault.region]
                yield partial(_count, cell, "drains", 1), partial(_count, cell, "drains", -1)
            case FaultKind.GATEWAY_LOSS:
                yield from ((slot.kill, slot.restart) for slot in self._gateways(fault))
            case FaultKind.GATEWAY_STALL:
                yield from ((slot.stall, slot.go_on) for slot in self._gateways(fault))
            case FaultKind.PARTITION:
                for ends in self._chosen(fault):
                    path = self._network.path(*ends)
                    yield path.cut, path.heal
            case FaultKind.SLOW_LINK:
                for ends in self._chosen(fault):
                    path = self._network.path(*ends)
                    yield (
                        partial(_count, path, "slowed_s", fault.latency_s),
                        partial(_count, path, "slowed_s", -fault.latency_s),
                    )
            case FaultKind.LINK_LOSS:
                for ends in self._chosen(fault):
                    path = self._network.path(*ends)
                    yield (
                        partial(_count, path, "loss", fault.share),
                        partial(_count, path, "loss", -fault.share),
                    )
            case FaultKind.SLOW_REGION:
                for replica in self._cells[fault.region].every_replica():
                    yield _slowing(replica, fault.factor)
            case FaultKind.SLOW_REPLICA:
                yield from (_slowing(replica, fault.factor) for replica in self._replicas(fault))
            case FaultKind.FROZEN_REPLICA:
                yield from ((replica.freeze, replica.thaw) for replica in self._replicas(fault))
            case FaultKind.CRASH_LOOP:
                yield from ((replica.kill, replica.start) for replica in self._replicas(fault))
            case FaultKind.FAILING_REPLICA:
                for replica in self._replicas(fault):
                    yield (
                        partial(_count, replica, "failing", fault.share),
                        partial(_count, replica, "failing", -fault.share),
                    )
            case FaultKind.CAPACITY_DROP:
                for group in self._cells[fault.region].replicas.values():
                    yield from (
                        (replica.kill, replica.start) for replica in group[: round(fault.share * len(group))]
                    )
            case FaultKind.STALE_REPORTS:
                cell = self._cells[fault.region]
                yield partial(_count, cell, "stale", 1), partial(_count, cell, "stale", -1)
            case FaultKind.SURGE | FaultKind.RETRY_STORM:
                return

    def _gateways(self, fault: Fault) -> list[GatewaySlot]:
        return self._cells[fault.region].gateways[_index(fault)]

    def _replicas(self, fault: Fault) -> list[SimulatedReplica]:
        return [
            replica
            for group in self._cells[fault.region].replicas.values()
            for replica in group[_index(fault)]
        ]

    def _chosen(self, fault: Fault) -> list[tuple[str, str]]:
        return list(self._network.chosen(fault.region, fault.other, one_way=fault.one_way))


def _index(fault: Fault) -> slice:
    """``eu-west/replica-2`` is the second one; a region's name alone means all."""
    part = fault.target.rpartition("-")[2] if "/" in fault.target else ""
    return slice(int(part) - 1, int(part)) if part else slice(None)


def _count(target: object, name: str, change: float) -> None:
    setattr(target, name, round(getattr(target, name) + change, 9))


def _slowing(replica: SimulatedReplica, factor: float) -> tuple[Step, Step]:
    return partial(replica.factors.append, factor), partial(replica.factors.remove, factor)
