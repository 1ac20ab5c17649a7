"""A whole load: puts users, ways, journeys and times together, and runs them on gevent."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import inf

import gevent  # type: ignore[import-untyped]

from atoll.clock import SystemClock
from atoll.geo.geoip import GeoIp
from atoll.topology import Idempotency, load
from atoll_services.cities import City, load_cities
from loadtests.drills.record import Request, Way
from loadtests.drills.scenario import ShapeKind
from loadtests.users import journeys
from loadtests.users.addresses import addresses
from loadtests.users.arrivals import Arrival, arrivals, in_spike
from loadtests.users.cities import Inhabitant, Inhabitants
from loadtests.users.client import Connection, NoAnswer, Origin
from loadtests.users.journeys import Journey, Shop, Visitor
from loadtests.users.network import Network
from loadtests.users.openloop import dispatch
from loadtests.users.options import Options
from loadtests.users.recorder import began_file
from loadtests.users.steering import Answer, Gateway, Resolvers
from loadtests.users.visit import Surroundings, Visit

WANTED_POSTCARDS = 2000
"""Visitors search for the largest cities."""
STEERING_S = 5.0
"""Patience of a resolver: the usual one of a stub resolver (resolv.conf(5))."""


class Load:
    """The users of one load. `record` gets every request as soon as it has ended.

    Raises `TopologyError`, `NoCities`, `NothingToDo` for options that don't fit what is deployed.
    """

    def __init__(self, options: Options, record: Callable[[Request], None]) -> None:
        topology = load(options.topology)
        deployed = frozenset(topology.services)
        services = deployed & frozenset(options.services) if options.services else deployed
        keyed = frozenset(
            name for name, service in topology.services.items() if service.idempotency is Idempotency.SERVICE
        )
        cities = _cities()
        self._shop = Shop(services, keyed, cities[:WANTED_POSTCARDS], options.wait_ms)
        self._failing_shop = replace(self._shop, fails=options.fails)
        self._shop.check(options.journey, sale=options.shape.kind is ShapeKind.FLASH_SALE)
        with GeoIp() as geoip:
            known = addresses(geoip)
        self._inhabitants = Inhabitants(cities, known, options.countries)
        self._customers = (
            Inhabitants(cities, known, (options.shape.country,))
            if options.shape.country
            else self._inhabitants
        )
        self._options = options
        self._record = record
        self._clock = SystemClock()
        self._network = Network(topology)
        # One source for who comes when, one for ages of answers: neither depends on what the system does.
        self._rng = random.Random(options.seed)
        self._resolvers = Resolvers(self._steer, self._clock, random.Random(options.seed + 1))
        self._run = f"{random.SystemRandom().getrandbits(32):08x}"
        self._visits = 0
        self._under_way: dict[Visit, gevent.Greenlet] = {}

    @property
    def shop(self) -> Shop:
        """What is deployed, as its users know it."""
        return self._shop

    def run(self) -> None:
        """Returns when the load is over and everybody has left; goes on for ever if it has no end."""
        options = self._options
        now_s = self._clock.monotonic()
        begin_s = now_s if options.begin_s is None else max(now_s, options.begin_s)
        if options.requests is not None:
            began_file(options.requests).write_text(repr(begin_s))
        coming = arrivals(options.shape, options.run_s or inf, random.Random(options.seed))
        dispatch(coming, begin_s, self._clock, gevent.sleep, self._begin)
        if options.run_s is not None:
            gevent.sleep(max(0.0, begin_s + options.run_s - self._clock.monotonic()))
        self.end(options.manners.waits_s + STEERING_S)

    def end(self, patience_s: float) -> None:
        """Sends nobody on. Waits so long for answers that are due; what has none then is recorded as ``unfinished``."""
        for visit in self._under_way:
            visit.leaving = True
        gevent.killall([walk for visit, walk in self._under_way.items() if not visit.asking])
        gevent.joinall(list(self._under_way.values()), timeout=patience_s)
        gevent.killall(list(self._under_way.values()))

    def _begin(self, arrival: Arrival, due_s: float) -> None:
        options, number = self._options, self._visits
        self._visits += 1
        at = self._inhabitant(arrival)
        visitor = Visitor(f"u-{self._run}-{number}", at.city, random.Random(f"{options.seed}/{number}"))
        way = options.ways[number % len(options.ways)]
        surroundings = Surroundings(
            at.address, way, self._gateways(way, at), self._network.round_trips(at.city)
        )
        visit = Visit(visitor, surroundings, options.manners, self._record, self._clock, gevent.sleep)
        shop = self._failing_shop if in_spike(options.shape, arrival.at_s) else self._shop
        journey = journeys.begin(options.journey, shop, visitor, sale=arrival.sale)
        self._under_way[visit] = gevent.spawn(self._walk, visit, journey, due_s)

    def _walk(self, visit: Visit, journey: Journey, due_s: float) -> None:
        try:
            visit.run(journey, due_s)
        finally:
            self._under_way.pop(visit, None)

    def _inhabitant(self, arrival: Arrival) -> Inhabitant:
        shape = self._options.shape
        if arrival.sale:
            return self._customers.draw(self._rng)
        if shape.kind is ShapeKind.SUN:
            assert shape.period_s is not None
            return self._inhabitants.draw_awake(self._rng, 24.0 * arrival.at_s / shape.period_s)
        return self._inhabitants.draw(self._rng)

    def _gateways(self, way: Way, at: Inhabitant) -> Callable[[], Sequence[Gateway]]:
        if way is Way.DNS:
            return self._resolvers.of(at.city.country, at.address).gateways
        nearest = (Gateway(self._network.nearest(at.city), self._options.entry),)
        return lambda: nearest

    def _steer(self, address: str) -> Answer:
        """Asks ``/-/steer`` at the entry. Raises `NoAnswer`."""
        entry = self._options.entry
        connection = Connection(entry)
        head = f"GET /-/steer HTTP/1.1\r\nhost: {entry.authority}\r\nx-forwarded-for: {address}\r\n\r\n"
        try:
            response = connection.ask(head.encode(), STEERING_S)
        finally:
            connection.close()
        match response.json():
            case {"ttl_s": int(ttl_s), "gateways": [*gateways]} if response.status == 200:
                known = tuple(Gateway(each["region"], Origin.of(each["url"])) for each in gateways)
                return Answer(known, float(ttl_s))
        raise NoAnswer("malformed")


@cache
def _cities() -> Sequence[City]:
    """Once for all loads of a process: it takes a second."""
    return load_cities(15000)
