"""A gateway process in the simulator: the production cores, joined as `atoll_gateway` joins them.

What is decided is decided by `atoll.routing` and `atoll.resilience`. This file stands for the glue around them
(`peers.py`, `board.py`, `replicas.py` and the layers of `atoll_gateway`), which needs sockets and can't run here.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import cast

from atoll.resilience.attempts import RETRIED_STATUSES, Attempts, Failure
from atoll.resilience.balance import SEVERAL
from atoll.resilience.criticality import Criticality
from atoll.resilience.deadline import Deadline
from atoll.resilience.health import PeerHealth
from atoll.resilience.outlier import Ejected, Host, Hosts
from atoll.routing.pressure import Pressure
from atoll.routing.rank import Ranking, RegionView
from atoll.routing.slowness import behind_ms
from atoll.routing.spill import Spill
from atoll.simulate.cell import Cell, GatewaySlot
from atoll.simulate.hosts import ReplicaHost
from atoll.simulate.lane import FULL, Lane
from atoll.simulate.loop import VirtualClock
from atoll.simulate.message import Answer, Exchange, Report, ServiceLoad, SimulatedRequest
from atoll.simulate.network import ENTRY, ConnectionBroken, Network
from atoll.simulate.noting import Noting
from atoll.simulate.parts import Parts
from atoll.simulate.peer import Abandoned, Peer, PeerLoad, Refused
from atoll.simulate.record import AttemptRecord, Outcome, Record, RequestRecord, WeightSample
from atoll.simulate.replica import ReplicaGone
from atoll.topology import Service, Topology

PROBES_AT_ONCE = 4
"""As `atoll_gateway.peers.PROBES_AT_ONCE`."""

LOAD_FRESH_S = 3.0
"""As `atoll_gateway.peers.LOAD_FRESH_S`."""

REPORT_KEPT_S = 0.02
"""A report is made anew no more often, for speed: no link is that fast."""

PROBES = 2
"""As `atoll_gateway.liveness.PROBES`: a replica is asked so often, each time for `OutlierPolicy.stall_s`."""

LONGEST = 10.0
"""As `atoll_gateway.liveness.LONGEST`."""


class SimulatedGateway:
    """One process. A new one knows nothing."""

    def __init__(
        self,
        slot: GatewaySlot,
        topology: Topology,
        cells: Mapping[str, Cell],
        network: Network,
        place_rtts: Mapping[str, Mapping[str, float]],
        loop: asyncio.AbstractEventLoop,
        clock: VirtualClock,
        chance: Random,
        parts: Parts,
        record: Record,
    ) -> None:
        self.slot = slot
        self.region = slot.region
        self._here = ENTRY if slot.region is None else slot.region
        self._topology = topology
        self._cells = cells
        self._network = network
        self._place_rtts = place_rtts
        self._loop = loop
        self._clock = clock
        self._chance = chance
        self._parts = parts
        self._record = record
        record.born[slot.name] = clock.now
        self._peers: dict[str, Hosts[Peer]] = {}
        for region, cell in cells.items():
            if region != slot.region:
                group = self._peers[region] = Hosts(clock, topology.outlier, chance, _ignore)
                for other in cell.gateways:
                    group.join(Peer(other, region, PeerHealth(clock, topology.health), clock))
        self._all_peers = [peer for peers in self._peers.values() for peer in peers]
        self._siblings: list[GatewaySlot] = (
            []
            if slot.region is None
            else [other for other in cells[slot.region].gateways if other is not slot]
        )
        self._hosts = {
            name: parts.hosts(clock, topology.outlier, chance, self._changed) for name in topology.services
        }
        self._known: dict[str, dict[str, ReplicaHost]] = {name: {} for name in topology.services}
        self._rankings: dict[tuple[str, frozenset[str], str | None], Ranking] = {}
        self._spills: dict[tuple[str, frozenset[str], tuple[str, ...]], Spill] = {}
        self._sibling_loads: list[Mapping[str, int]] = []
        self._pressures: dict[tuple[str, frozenset[str]], Pressure] = {}
        self._pressed_by: dict[tuple[str, frozenset[str]], float] = {}
        self.lanes: dict[tuple[str, str], Lane] = {}
        self._pressed: set[str] = set()
        self._attempts = {
            name: Attempts[SimulatedRequest, Answer](
                self._in_region, Exchange(), clock, chance, retry=topology.retry, hedge=topology.hedge
            )
            for name in topology.services
        }
        self._budgets = {
            name: Noting(parts.budget(clock, topology.retry), clock, record.denials[slot.name, name])
            for name in topology.services
        }
        self._owned: dict[asyncio.Task[None], None] = {}
        self._serving: dict[asyncio.Future[Answer], asyncio.Task[None]] = {}
        self._dead = False
        self._report: Report | None = None
        self._reported_at = 0.0
        self._look()
        self._timer = loop.call_later(chance.random() * topology.health.probe_interval_s, self._tick)

    # --- Life and death

    def die(self) -> None:
        """The process is killed: what it owned ends, and those who waited for it find their connections broken."""
        self._dead = True
        self._timer.cancel()
        for task in tuple(self._owned):
            task.cancel()
        for reply, task in tuple(self._serving.items()):
            task.cancel()
            if not reply.done():
                reply.set_exception(ConnectionBroken())
        self._serving.clear()

    def stop(self) -> None:
        """No tick any more, for the end of a run."""
        self._timer.cancel()

    def left_over(self) -> list[str]:
        """What has not been given back although nothing is under way."""
        found = [
            f"{self.slot.name}: {key} has {lane.bulkhead.in_flight} places taken and {lane.bulkhead.waiting} waiting"
            for key, lane in self.lanes.items()
            if lane.bulkhead.in_flight or lane.bulkhead.waiting
        ]
        found += [
            f"{self.slot.name}: {peer.in_flight} requests counted at {peer.slot.name}"
            for peer in self._all_peers
            if peer.in_flight or peer.waits
        ]
        found += [
            f"{self.slot.name}: {hosts.in_flight} requests of {service} counted at replicas"
            for service, hosts in self._hosts.items()
            if hosts.in_flight
        ]
        found += [f"{self.slot.name}: {len(self._owned)} requests under way"] * bool(self._owned)
        return found

    def misled(self) -> list[str]:
        """Breakers that let in more than one probe, or nobody although left alone for longer than they ever open."""
        found = []
        for key, lane in self.lanes.items():
            if lane.crowded:
                found.append(
                    f"{self.slot.name}: the half-open breaker of {key} let {lane.crowded} more in than its probe"
                )
            permit = lane.breaker.admit()
            if permit is None:
                found.append(f"{self.slot.name}: the breaker of {key} lets nobody in any more")
            else:
                lane.breaker.ignored(permit)
        return found

    # --- Watching peers and replicas

    def _tick(self) -> None:
        interval = self._topology.health.probe_interval_s
        self._timer = self._loop.call_later(interval, self._tick)
        if self.slot.stalled:
            return
        for peer in self._all_peers:
            if peer.waiting < PROBES_AT_ONCE:
                peer.waiting += 1
                peer.health.probe_sent()
                self._probe(peer)
            peer.health.tick()
            self._note(peer)
        self._look()
        self._ask_the_silent()
        self._sibling_loads = [
            {name: load.in_flight for name, load in process.report().services.items()}
            for sibling in self._siblings
            if (process := cast("SimulatedGateway | None", sibling.process)) is not None
        ]
        self._pressed.clear()
        for (region, service), lane in self.lanes.items():
            self._bound(lane, region, service)
        self._changed()

    def _probe(self, peer: Peer) -> None:
        out, back = self._network.path(self._here, peer.region), self._network.path(peer.region, self._here)
        silence = self._topology.health.silence_s
        broken = out.loss > 0 and self._chance.random() < out.loss + back.loss
        if out.cuts or peer.slot.stalled or (back.cuts and peer.slot.process is not None) or broken:
            self._loop.call_later(
                0.0 if broken else silence, partial(self._probed, peer, None, refused=False)
            )
            return
        process = cast("SimulatedGateway | None", peer.slot.process)
        report = None if process is None else process.report()
        self._loop.call_later(
            out.delay_s + back.delay_s, partial(self._probed, peer, report, refused=process is None)
        )

    def _probed(self, peer: Peer, report: Report | None, *, refused: bool) -> None:
        peer.waiting -= 1
        if self._dead:
            return
        if refused:
            peer.health.refused()
        elif report is None:
            peer.health.probe_failed("no answer in time")
        else:
            peer.health.probe_answered()
            self._take_report(peer, report)
        self._note(peer)

    def _take_report(self, peer: Peer, report: Report) -> None:
        before, peer.report = peer.report, report
        now = self._clock.now
        peer.loads = {
            name: PeerLoad(load.in_flight, load.capacity, now) for name, load in report.services.items()
        }
        if before is None or before.draining != report.draining or before.replicas != report.replicas:
            self._changed()

    def _note(self, peer: Peer) -> None:
        healthy = peer.health.healthy
        if healthy == peer.trusted:
            return
        peer.trusted = healthy
        self._changed()
        if not healthy:
            for wait in tuple(peer.waits):
                if not wait.done():
                    wait.set_exception(Abandoned())

    def _look(self) -> None:
        """Takes up the table of replicas."""
        if self.region is None:
            return
        now = self._clock.now
        cell = self._cells[self.region]
        for service, hosts in self._hosts.items():
            known = self._known[service]
            listed = {replica.name: replica for replica in cell.listed(service, now)}
            for name in [name for name in known if name not in listed]:
                hosts.leave(known.pop(name))
            for name, replica in listed.items():
                if name not in known:
                    known[name] = ReplicaHost(self._clock, replica)
                    hosts.join(known[name])

    def _ask_the_silent(self) -> None:
        """A replica that owes answers and gives none is asked whether it is alive; a stalled one all the time."""
        now, policy = self._clock.now, self._topology.outlier
        for hosts in self._hosts.values():
            for host in list(hosts):
                stalled = host.ejected is Ejected.STALLED
                usual_s = min(max(policy.stall_s, SEVERAL * host.latency_s), LONGEST * policy.stall_s)
                if stalled or (host.silent_s(now) > usual_s and not host.asked):
                    host.asked = True
                    self._loop.call_later(
                        PROBES * policy.stall_s if host.replica.frozen else 0.001, self._asked, hosts, host
                    )

    def _asked(self, hosts: Hosts[ReplicaHost], host: ReplicaHost) -> None:
        host.asked = False
        if not host.replica.frozen:
            hosts.alive(host)
        elif self._parts.asks_the_silent:
            hosts.stalled(host)
            for wait, repeatable in tuple(host.waits.items()):
                if repeatable and not wait.done():
                    wait.set_exception(Abandoned())

    def report(self) -> Report:
        """What peers are told."""
        assert self.region is not None
        cell = self._cells[self.region]
        now = self._clock.now
        if self._report is not None and (cell.stale or now < self._reported_at + REPORT_KEPT_S):
            return self._report
        self._reported_at = now
        services: dict[str, ServiceLoad] = {}
        for name, hosts in self._hosts.items():
            live = hosts.live
            each = cell.replicas[name][0].accepts if cell.replicas.get(name) else 0
            services[name] = ServiceLoad(live, len(hosts) - live, hosts.in_flight, live * each)
        self._report = Report(cell.draining, services)
        return self._report

    # --- Board

    def _changed(self, _: object = None) -> None:
        self._rankings.clear()
        self._pressed_by.clear()

    def _bound(self, lane: Lane, region: str, service: str) -> None:
        """As `atoll_gateway.layers.region.InRegion`."""
        capacity = self._load(region, service)[1]
        least = self._topology.services[service].replicas.asking(capacity)
        lane.bound(capacity if region == self.region else None, least)

    def _load(self, region: str, service: str) -> tuple[int, int | None]:
        """Requests in flight, and capacity if known; as `atoll_gateway.board.Board.load`."""
        now = self._clock.now
        if region == self.region:
            hosts = self._hosts[service]
            group = self._cells[region].replicas.get(service)
            capacity = hosts.live * group[0].accepts if group else 0
            in_flight = hosts.in_flight + sum(load[service] for load in self._sibling_loads)
            return in_flight, capacity or None
        loads = [
            load
            for peer in self._peers[region]
            if peer.trusted and (load := peer.loads.get(service)) is not None
            if now - load.heard <= LOAD_FRESH_S
        ]
        return sum(load.in_flight for load in loads), max(
            (load.capacity for load in loads), default=0
        ) or None

    def _spill(self, record: RequestRecord, service: Service, views: list[RegionView]) -> Spill:
        nearest: tuple[str, ...] = ()
        if self.region is None:
            fit = [view for view in views if view.zone in record.zones and view.region in service.regions]
            nearest = tuple(
                view.region for view in sorted(fit, key=lambda view: (view.rtt_ms, view.region))[:2]
            )
        key = (service.name, record.zones, nearest)
        spill = self._spills.get(key)
        if spill is None:
            spill = self._spills[key] = self._parts.spill(self._clock, self._topology.routing)
        return spill

    def ranking(self, record: RequestRecord) -> Ranking:
        country = record.country if self.region is None else None
        key = (record.service, record.zones, country)
        known = self._rankings.get(key)
        if known is None:
            service = self._topology.services[record.service]
            views = self._views(service, country)
            known = self._parts.rank(service, record.zones, views, self._topology.routing)
            known = self._rankings[key] = self._spill(record, service, views).settle(known, views)
            self._record.weights.append(
                WeightSample(
                    self._clock.now,
                    self.slot.name,
                    f"{record.service} {country or ''}",
                    tuple((one.region, one.share or 0.0) for one in known.candidates if one.eligible),
                )
            )
        return known

    def _pressure(self, record: RequestRecord) -> float:
        """As `atoll_gateway.board.Board.pressure`."""
        key = (record.service, record.zones)
        known = self._pressed_by.get(key)
        if known is None:
            pressure = self._pressures.get(key)
            if pressure is None:
                pressure = self._pressures[key] = self._parts.pressure(self._clock)
            service = self._topology.services[record.service]
            views = self._views(service, record.country)
            ranking = self._parts.rank(service, record.zones, views, self._topology.routing)
            known = self._pressed_by[key] = pressure.look(
                ranking, views, self._topology.bulkhead.sheddable_share
            )
        return known

    def _round_trips(self, country: str | None) -> Mapping[str, float]:
        if self.region is None:
            assert country is not None
            return self._place_rtts[country]
        return {region: self._topology.rtt_ms(self.region, region) for region in self._topology.regions}

    def _views(self, service: Service, country: str | None) -> list[RegionView]:
        topology = self._topology
        views: list[RegionView] = []
        round_trips = self._round_trips(country)
        for region in topology.regions:
            if region == self.region:
                reports = [self.report()]
                healthy, reason = True, "own region"
            else:
                peers = list(self._peers[region])
                trusted = [peer for peer in peers if peer.trusted]
                reports = [peer.report for peer in trusted or peers if peer.report is not None]
                healthy = bool(trusted)
                reason = "" if healthy else peers[0].health.reason
            placed = region in service.regions
            loads = [report.services[service.name] for report in reports] if placed else []
            in_flight, capacity = self._load(region, service.name)
            behind = self._attempts[service.name].behind(region)
            views.append(
                RegionView(
                    region=region,
                    zone=topology.regions[region].zone,
                    rtt_ms=round_trips[region],
                    healthy=healthy,
                    health_reason=reason,
                    draining=any(report.draining for report in reports),
                    replicas=max((load.replicas for load in loads), default=None) if placed else 0,
                    ejected=max((load.ejected for load in loads), default=0),
                    capacity=capacity,
                    in_flight=in_flight,
                    delay_ms=behind_ms(behind, region, round_trips),
                    tried_again=behind is not None and behind.tried_again,
                )
            )
        return views

    # --- Requests of clients

    async def handle(self, record: RequestRecord) -> None:
        """Answers a client's request, or says why not. The process's death shows as a cancellation."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._owned[task] = None
        request = SimulatedRequest(record, self._topology.services[record.service], self._clock)
        try:
            async with asyncio.timeout(record.timeout_s):
                if self.slot.stalled:
                    await self.slot.until_runs()
                answer = await self._serve(request)
        except TimeoutError:
            self._end(record, Outcome.TIMEOUT)
        except Failure as failure:
            self._end(record, _told(failure), str(failure))
        except asyncio.CancelledError:
            self._end(record, Outcome.GATEWAY_LOST if self._dead else Outcome.LEFT)
            raise
        else:
            if answer.status == 200:
                record.answered_by = answer.region
                self._end(record, Outcome.ANSWERED)
            else:
                self._end(record, Outcome.FAILED, str(answer.status))
        finally:
            del self._owned[task]

    def _end(self, record: RequestRecord, outcome: Outcome, detail: str = "") -> None:
        record.ends += 1
        record.outcome = outcome
        record.detail = detail
        record.ended = self._clock.now

    async def _serve(self, request: SimulatedRequest) -> Answer:
        record = request.record
        ranking = self.ranking(record)
        if record.service in self._pressed and self._full(
            record.service, ranking.regions, record.criticality
        ):
            raise Failure("overloaded", sent=False, refused=True)
        if record.criticality is Criticality.SHEDDABLE and self._pressure(record) > 1.0:
            raise Failure("overloaded", sent=False, refused=True)
        if not ranking.regions:
            raise Failure("no region", sent=False, refused=True)
        request.regions = ranking.draw(self._chance)
        budget = self._budgets[record.service]
        return await self._attempts[record.service](
            request, request.regions, request.service.max_attempts, budget
        )

    def _full(self, service: str, regions: tuple[str, ...], criticality: Criticality) -> bool:
        """As `atoll_gateway.layers.region.InRegion.full`."""
        queue_is_full = False
        for region in regions:
            lane = self.lanes.get((region, service))
            if lane is None or lane.bulkhead.has_place(criticality):
                return False
            queue_is_full = queue_is_full or lane.bulkhead.queue_is_full(criticality)
        return queue_is_full

    # --- One attempt in one region

    async def _in_region(self, request: SimulatedRequest, region: str) -> Answer:
        lane = self._lane(region, request.service.name)
        attempt = AttemptRecord(region, self._clock.now)
        request.record.attempts.append(attempt)
        send = self._local if region == self.region else self._remote
        try:
            answer = await lane.through(
                request.record.criticality,
                last_resort=all(other == region or other in request.tried for other in request.regions),
                remaining_s=request.deadline.remaining_s,
                send=partial(send, request, region, attempt),
            )
        except Failure as failure:
            attempt.outcome = str(failure)
            if attempt.outcome == FULL and not attempt.asked:
                self._pressed.add(request.service.name)
            raise
        else:
            attempt.outcome = str(answer.status)
            return answer
        finally:
            request.tried.add(region)
            attempt.ended = self._clock.now
            attempt.outcome = attempt.outcome or "cancelled"

    def _lane(self, region: str, service: str) -> Lane:
        lane = self.lanes.get((region, service))
        if lane is None:
            lane = self.lanes[region, service] = Lane(self._clock, self._topology, self._parts, self._changed)
            self._bound(lane, region, service)
        return lane

    async def _local(self, request: SimulatedRequest, region: str, attempt: AttemptRecord) -> Answer:
        """As `atoll_gateway.layers.local.Local`: straight to a replica."""
        attempt.asked_at = self._clock.now
        service = request.service.name
        hosts = self._hosts[service]
        avoid: frozenset[Host] = frozenset()
        full = 0
        while (host := hosts.pick(avoid)) is not None:
            if not host.replica.up:
                hosts.refused(host)
                avoid |= {host}
                continue
            if host.replica.full:
                full += 1
                if full >= min(self._parts.full_hosts, hosts.live):
                    break
                avoid |= {host}
                continue
            return await self._execute(request, region, attempt, host)
        raise Failure(FULL if full else "no replica", sent=False, refused=True, retry_after_s=1)

    async def _execute(
        self, request: SimulatedRequest, region: str, attempt: AttemptRecord, host: ReplicaHost
    ) -> Answer:
        hosts = self._hosts[request.service.name]
        if attempt.sent < 0:
            attempt.sent = self._clock.now
        attempt.heads += 1
        request.record.executed_in.append(region)
        request.record.replica = host.replica.name
        began = hosts.begin(host)
        wait = self._loop.create_future()
        host.waits[wait] = request.replay_safe
        try:
            status = await host.replica.execute(wait)
        except Abandoned as error:
            request.attempts_made += 1
            raise Failure("lost", sent=True) from error
        except ReplicaGone as error:
            hosts.failed(host, answered=False)
            request.attempts_made += 1
            raise Failure("lost", sent=True) from error
        except asyncio.CancelledError:
            hosts.given_up(host, began)
            raise
        else:
            request.attempts_made += 1
            if status in RETRIED_STATUSES:
                hosts.failed(host, answered=True)
            else:
                hosts.succeeded(host, began)
            return Answer(status, region, (hosts.in_flight, hosts.live * host.replica.accepts))
        finally:
            del host.waits[wait]
            hosts.end(host)

    async def _remote(self, request: SimulatedRequest, region: str, attempt: AttemptRecord) -> Answer:
        """As `atoll_gateway.layers.remote.Remote`: over the link to a gateway there."""
        attempt.asked_at = self._clock.now
        avoid: set[Peer] = set()
        group = self._peers[region]
        while (peer := self._pick(region, avoid)) is not None:
            began = group.begin(peer)
            reply: asyncio.Future[Answer] = self._loop.create_future()
            peer.waits[reply] = None
            exchange = self._loop.create_task(self._exchange(request, peer, attempt, reply))
            try:
                answer = await reply
            except Refused:
                peer.health.refused()
                self._note(peer)
                avoid.add(peer)
                continue
            except Abandoned as error:
                request.attempts_made += 1
                raise Failure("lost", sent=True) from error
            except ConnectionBroken as error:
                group.failed(peer, answered=False)
                request.attempts_made += 1
                raise Failure("lost", sent=True) from error
            except Failure as failure:
                peer.health.heard()
                if failure.refused:
                    group.alive(peer)
                request.attempts_made += failure.sent
                raise
            except asyncio.CancelledError:
                group.given_up(peer, began)
                raise
            finally:
                group.end(peer)
                del peer.waits[reply]
                exchange.cancel()
            peer.health.heard()
            request.attempts_made += 1
            if answer.status in RETRIED_STATUSES:
                group.failed(peer, answered=True)
            else:
                group.succeeded(peer, began)
            if answer.load is not None:
                peer.loads[request.service.name] = PeerLoad(*answer.load, self._clock.now)
            return answer
        raise Failure("unreachable", sent=False, retry_after_s=1)

    def _pick(self, region: str, avoid: set[Peer]) -> Peer | None:
        """As `atoll_gateway.peers.Peers.pick`."""
        group = self._peers[region]
        chosen = group.pick(frozenset(peer for peer in group if not peer.health.healthy or peer in avoid))
        if chosen is None:
            rest = [peer for peer in group if peer not in avoid]
            chosen = min(rest, key=lambda peer: peer.in_flight, default=None)
        return chosen

    async def _exchange(
        self, request: SimulatedRequest, peer: Peer, attempt: AttemptRecord, reply: asyncio.Future[Answer]
    ) -> None:
        """A request's way there, and its answer's way back."""
        out, back = self._network.path(self._here, peer.region), self._network.path(peer.region, self._here)
        if peer.slot.process is None:
            await asyncio.sleep(out.delay_s + back.delay_s)
            _settle(reply, Refused())
            return
        attempt.sent = self._clock.now
        attempt.heads += 1
        try:
            await out.carry()
            answer = await _running(peer.slot).forwarded(request, attempt)
            await back.carry()
        except ConnectionBroken as error:
            _settle(reply, error)
        except Failure as failure:
            try:
                await back.carry()
            except ConnectionBroken as error:
                _settle(reply, error)
                return
            if failure.refused:
                attempt.heads -= 1
            _settle(reply, failure)
        else:
            if not reply.done():
                reply.set_result(answer)

    async def forwarded(self, request: SimulatedRequest, attempt: AttemptRecord) -> Answer:
        """Serves another gateway's request in this region, or refuses it. Raises `Failure` or `ConnectionBroken`."""
        ended: asyncio.Future[Answer] = self._loop.create_future()
        task = self._loop.create_task(self._serve_here(request, attempt, ended))
        self._serving[ended] = task
        try:
            return await ended
        finally:
            task.cancel()
            self._serving.pop(ended, None)

    async def _serve_here(
        self, request: SimulatedRequest, attempt: AttemptRecord, ended: asyncio.Future[Answer]
    ) -> None:
        assert self.region is not None
        if self.slot.stalled:
            await self.slot.until_runs()
        record = request.record
        here = SimulatedRequest(record, request.service, self._clock)
        here.deadline = Deadline(self._clock, request.deadline.remaining_s)
        inner = AttemptRecord(self.region, self._clock.now)
        try:
            self._check_zone(record.zones)
            answer = await self._lane(self.region, request.service.name).through(
                record.criticality,
                last_resort=True,
                remaining_s=here.deadline.remaining_s,
                send=partial(self._local, here, self.region, inner),
            )
        except Failure as failure:
            attempt.heads += max(0, inner.heads - 1)
            _settle(ended, failure)
        else:
            attempt.heads += max(0, inner.heads - 1)
            if not ended.done():
                ended.set_result(answer)

    def _check_zone(self, zones: frozenset[str]) -> None:
        assert self.region is not None
        if self._parts.checks_zones and self._topology.regions[self.region].zone not in zones:
            raise Failure("outside zones", sent=False, refused=True)


def _ignore(_: object) -> None:
    pass


def _running(slot: GatewaySlot) -> SimulatedGateway:
    """The process there. Raises `ConnectionBroken` if it has died since the connection was made."""
    if slot.process is None:
        raise ConnectionBroken
    return cast(SimulatedGateway, slot.process)


def _settle(future: "asyncio.Future[Answer]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _told(failure: Failure) -> Outcome:
    """How a failure looks to the client."""
    if str(failure) == Outcome.OUTCOME_UNKNOWN:
        return Outcome.OUTCOME_UNKNOWN
    return Outcome.SHED if failure.refused else Outcome.UNREACHABLE
