"""One run of a scenario: cells, links, gateways and clients on a virtual loop, and the record of what happened."""

import asyncio
import gc
from functools import partial
from random import Random

from atoll.geo.countries import country_centroids
from atoll.geo.place import Place
from atoll.geo.rtt import RoundTripModel
from atoll.resilience.breaker import LONGEST_OPEN
from atoll.routing.residency import allowed_zones
from atoll.routing.steering import RegionHealth, place_rtts, steer
from atoll.simulate.cell import Cell, GatewaySlot
from atoll.simulate.clients import Arrival, arrivals, repeats
from atoll.simulate.faults import Faults
from atoll.simulate.gateway import SimulatedGateway
from atoll.simulate.loop import VirtualLoop, run
from atoll.simulate.network import ENTRY, Network
from atoll.simulate.parts import PRODUCTION, Parts
from atoll.simulate.record import Kind, Outcome, Peaks, Record, RequestRecord
from atoll.simulate.replica import SimulatedReplica
from atoll.simulate.scenario import Scenario, Shape
from atoll.topology import Idempotency

WARM_UP_S = 1.5
"""Gateways have probed each other before the first client comes."""

ENTRY_RTT_MS = 20.0
"""Between an entry and every region: it stands where its clients are, wherever that is."""

_HEALTHY = RegionHealth(healthy=True, reason="healthy")


def simulate(scenario: Scenario, seed: int, parts: Parts = PRODUCTION) -> Record:
    """Runs a scenario. The same arguments give the same record, on any machine."""
    loop = VirtualLoop()
    collecting = gc.isenabled()
    gc.disable()  # cycles are few, and the run is short
    try:
        return run(loop, _World(scenario, seed, parts, loop).run())
    finally:
        if collecting:
            gc.enable()


class _World:
    def __init__(self, scenario: Scenario, seed: int, parts: Parts, loop: VirtualLoop) -> None:
        self._scenario = scenario
        self._loop = loop
        self._parts = parts
        self._seed = seed
        self._record = Record()
        self._network = Network(scenario.topology, ENTRY_RTT_MS, self._chance("network"))
        self._rtts = self._from_places()
        self._cells: dict[str, Cell] = {}
        self._entry: GatewaySlot | None = None
        self._clients: list[asyncio.Task[None]] = []
        self._orders: dict[str, list[GatewaySlot]] = {}
        """What DNS says in each country."""

    def _chance(self, what: str) -> Random:
        """A stream of its own for each part, so that one more draw here changes nothing there."""
        return Random(f"{self._seed} {what}")

    def _from_places(self) -> dict[str, dict[str, float]]:
        scenario = self._scenario
        centroids = country_centroids()
        rtts: dict[str, dict[str, float]] = {}
        for load in scenario.loads:
            place = Place(load.country, centroids[load.country], "geoip-country")
            known = place_rtts(scenario.topology, place, RoundTripModel())
            assert known is not None, "every country of a scenario has coordinates"
            rtts[load.country] = dict(known)
        return rtts

    async def run(self) -> Record:
        self._build()
        scenario, record = self._scenario, self._record
        await asyncio.sleep(WARM_UP_S)
        begin = self._loop.time()
        faults = Faults(self._loop, self._cells, self._network, record, begin)
        for fault in scenario.faults:
            faults.schedule(fault, scenario.duration_s)
        for load in scenario.loads:
            if load.shape is not Shape.STEADY:
                record.disturbed.append(begin + load.at_s)
        record.disturbed.sort()
        record.began = begin
        for arrival in arrivals(scenario, self._chance("clients")):
            pause = begin + arrival.at - self._loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            self._clients.append(self._loop.create_task(self._client(arrival, begin)))
        await asyncio.sleep(max(0.0, begin + scenario.duration_s - self._loop.time()))
        await asyncio.gather(*self._clients)
        await self._count_what_is_left()
        return record

    # --- Building

    def _build(self) -> None:
        topology, works, loop = self._scenario.topology, self._scenario.works, self._loop
        record = self._record
        for region in topology.regions:
            replicas: dict[str, list[SimulatedReplica]] = {}
            chance = self._chance(f"replicas {region}")
            for service in topology.services_in(region):
                work = works.get(service.name)
                if work is None:
                    continue
                peaks = record.load[region, service.name] = Peaks()
                record.capacity[region, service.name] = work.replicas * work.busy
                count = partial(_count, peaks, loop)
                replicas[service.name] = [
                    SimulatedReplica(f"{region}/replica-{number}", region, work, loop, chance, count)
                    for number in range(1, work.replicas + 1)
                ]
            self._cells[region] = Cell(region, topology.regions[region].zone, replicas)
        for region, cell in self._cells.items():
            cell.gateways = [
                GatewaySlot(f"{region}/gateway-{number}", region, self._start)
                for number in range(1, topology.regions[region].gateways + 1)
            ]
            for other in topology.regions:
                record.rtts_s[region, other] = topology.rtt_ms(region, other) / 1000
            record.rtts_s[ENTRY, region] = ENTRY_RTT_MS / 1000
        for cell in self._cells.values():
            for slot in cell.gateways:
                slot.boot()
        if self._scenario.entry:
            self._entry = GatewaySlot(ENTRY, None, self._start)
            self._entry.boot()

    def _start(self, slot: GatewaySlot) -> SimulatedGateway:
        return SimulatedGateway(
            slot,
            self._scenario.topology,
            self._cells,
            self._network,
            self._rtts,
            self._loop,
            self._loop.clock,
            self._chance(f"gateway {slot.name} {self._loop.time()}"),
            self._parts,
            self._record,
        )

    # --- Clients

    async def _client(self, arrival: Arrival, begin: float) -> None:
        for sent in range(1 + repeats(self._scenario, arrival.load.country, arrival.at)):
            outcome = await self._request(arrival, repeat=sent > 0)
            if not outcome.error:
                return

    async def _request(self, arrival: Arrival, *, repeat: bool) -> Outcome:
        scenario, load = self._scenario, arrival.load
        service = scenario.topology.services[load.service]
        slot = self._gateway(arrival)
        record = RequestRecord(
            number=len(self._record.requests),
            service=load.service,
            country=load.country,
            kind=arrival.kind,
            criticality=arrival.criticality,
            safe=arrival.kind is Kind.GET
            or (arrival.kind is Kind.KEYED and service.idempotency is Idempotency.SERVICE),
            zones=allowed_zones(scenario.topology, service, load.country),
            gateway=slot.name,
            region=slot.region or ENTRY,
            started=self._loop.time(),
            timeout_s=min(service.timeout_s, load.timeout_s or service.timeout_s),
            repeat=repeat,
        )
        self._record.requests.append(record)
        process = slot.process
        if not isinstance(process, SimulatedGateway):
            record.ends += 1
            record.outcome, record.ended = Outcome.GATEWAY_LOST, self._loop.time()
            return Outcome.GATEWAY_LOST
        task = self._loop.create_task(process.handle(record))
        timer = None
        if arrival.leaves_after_s is not None:
            timer = self._loop.call_later(arrival.leaves_after_s, task.cancel)
        await asyncio.wait((task,))
        if timer is not None:
            timer.cancel()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        if record.outcome is None:  # cancelled before it began
            record.ends += 1
            record.outcome, record.ended = Outcome.LEFT, self._loop.time()
        return record.outcome

    def _gateway(self, arrival: Arrival) -> GatewaySlot:
        """Where DNS, or the entry, has the client go; a client that is refused goes to the next address."""
        if self._entry is not None:
            return self._entry
        slots = self._order(arrival.load.country)
        start = int(arrival.at * 1000) % 2
        nearest = [slot for slot in slots if slot.region == slots[0].region]
        slots = nearest[start:] + nearest[:start] + slots[len(nearest) :]
        return next((slot for slot in slots if slot.process is not None), slots[0])

    def _order(self, country: str) -> list[GatewaySlot]:
        known = self._orders.get(country)
        if known is None:
            healthy = dict.fromkeys(self._cells, _HEALTHY)
            ranking = steer(self._scenario.topology, self._rtts[country], healthy)
            known = [slot for region in ranking.regions for slot in self._cells[region].gateways]
            self._orders[country] = known
        return known

    # --- The end

    async def _count_what_is_left(self) -> None:
        """After every fault has ended and every request too, nothing may be taken and nobody locked out."""
        slots = [slot for cell in self._cells.values() for slot in cell.gateways]
        if self._entry is not None:
            slots.append(self._entry)
        await asyncio.sleep(1.0)  # what was cancelled at the very end has come to its end
        gateways = [slot.process for slot in slots if isinstance(slot.process, SimulatedGateway)]
        for gateway in gateways:
            gateway.stop()
            self._record.left_over += gateway.left_over()
        for cell in self._cells.values():
            self._record.left_over += [
                f"{replica.name} still works on {replica.in_flight} requests"
                for replica in cell.every_replica()
                if replica.in_flight
            ]
        await asyncio.sleep(LONGEST_OPEN * self._scenario.topology.breaker.open_s)
        for gateway in gateways:
            self._record.misled += gateway.misled()


def _count(peaks: Peaks, loop: VirtualLoop, change: int) -> None:
    peaks.add(change, loop.time())
