"""Clients that write at each level, from every region, and write down what they were told."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from atoll import state
from atoll.clock import SystemClock
from atoll.resilience.deadline import Deadline
from atoll.simulate.strong.history import Changed, Event, Got
from atoll.simulate.strong.linearizable import Call
from atoll.state.kind import Kind
from atoll.state.sdk.scope import entered
from atoll.state.strong import backend
from atoll.state.vector import NOTHING
from loadtests.state.cells import Cells, dot_written
from loadtests.state.ledger import Backwards, Ledger, Outcome, Place, Sale, Write

PATIENCE_S = 3.0
"""Of a client, for one operation."""
PAUSE_S = 0.05
"""Before a client asks again after a refusal."""
SHARED = 8
"""Maps, sets and counters of a namespace."""
STOCKED = 10
"""Postcards of a kind."""
SLACK = 5000
"""Writes by which clients of one promise may be ahead of the slowest ones, so that all meet all faults."""
KEYS = 12
"""Strong registers in use at a time, and after how many writes others take their place: contention, yet histories that
can be searched. Of postcards half as many kinds."""
WRITES_A_ROUND = 600


@dataclass(slots=True)
class Client:
    """One client of an eventual or session namespace.

    One of level session carries its session from region to region, and looks whether regions keep to it.
    """

    cells: Cells
    ledger: Ledger
    namespace: str
    number: int
    region: str
    chance: Random
    session: bool
    _values: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _generation: int = 0
    """Of its registers: one with a write of unknown outcome is left alone."""
    _seen: dict[Place, int] = field(default_factory=dict)
    """The newest value of each of its registers that it wrote or read."""
    _token: str | None = None
    _own: list[Place] = field(default_factory=list)
    """Fields and elements that it may remove again."""

    async def run(self, target: int) -> None:
        """Until so many writes of the namespace are acknowledged to all clients together."""
        while not self.ledger.closed and self.ledger.acked(self.namespace) < target:
            if self.session and self.chance.random() < 0.3:
                self.region = self.chance.choice(self.cells.regions)
            ahead = self.ledger.acked(self.namespace) - self.ledger.slowest
            if ahead > SLACK or not await self._act():
                await asyncio.sleep(PAUSE_S)

    async def _act(self) -> bool:
        """One operation; false if it was not served."""
        chosen = self.chance.random()
        if self.session and chosen < 0.25:
            return await (self._pair() if chosen < 0.1 else self._look())
        if chosen < 0.4:
            return await self._write(self._register("last"), next(self._values))
        if chosen < 0.55:
            return await self._write(self._shared(Kind.COUNTER), self.chance.choice((-2, 1, 3)))
        if chosen < 0.65 and self._own:
            return await self._write(self._own.pop(self.chance.randrange(len(self._own))), None)
        place = self._shared(self.chance.choice((Kind.MAP, Kind.SET)), f"{self.number}.{next(self._values)}")
        done = await self._write(place, 1)
        if done:
            self._own.append(place)
        return done

    async def _write(self, place: Place, value: int | None) -> bool:
        dot_written.set(None)
        outcome = await self._outcome(_writing(place, value))
        dot = dot_written.get()
        self.ledger.note(Write(place, value, outcome, dot))
        if place.kind is Kind.REGISTER and value is not None:
            if outcome is Outcome.UNKNOWN:
                self._generation += 1
            elif outcome is not Outcome.REFUSED:
                self._seen[place] = value
        return outcome in {Outcome.ACKED, Outcome.HERE}

    async def _outcome(self, write: Callable[[], Awaitable[object]]) -> Outcome:
        try:
            await self._served(self.region, write)
        except state.NotRemote:
            return Outcome.HERE
        except (state.RegionBehind, state.StoreRefused):
            return Outcome.REFUSED
        except state.StoreUnavailable as error:
            if dot_written.get() is not None:
                return Outcome.HERE
            return Outcome.UNKNOWN if error.sent else Outcome.REFUSED
        return Outcome.ACKED

    async def _served(self, region: str, work: Callable[[], Awaitable[object]]) -> object:
        """As a replica serves a request of this client."""
        access = self.cells[region].access
        scope = access.scope(self._token, Deadline(SystemClock(), PATIENCE_S))
        try:
            with entered(scope):
                return await work()
        finally:
            if self.session and scope.session.grown:  # as the middleware does
                self._token = await access.token(scope.session)

    async def _look(self) -> bool:
        """Read your writes and monotonic reads, in another region as well."""
        region = self.chance.choice(self.cells.regions)
        place = self._register(self.chance.choice(("last", "first", "second")))
        before = self._token
        found = await self._value(region, place)
        if found is None:
            return False
        wanted = self._seen.get(place, 0)
        await self._judge("read your writes, monotonic reads", place, region, before, found, wanted)
        self._seen[place] = max(found, wanted)
        return True

    async def _pair(self) -> bool:
        """Monotonic writes: whoever sees the second write of a session anywhere sees the first."""
        value, first, second = next(self._values), self._register("first"), self._register("second")
        if not await self._write(first, value):
            return False
        self.region = self.chance.choice(self.cells.regions)
        if not await self._write(second, value):
            return False
        stranger = Client(
            self.cells, self.ledger, self.namespace, self.number, self.region, self.chance, session=True
        )
        region = self.chance.choice(self.cells.regions)
        later = await stranger._value(region, second)
        before = stranger._token
        earlier = await stranger._value(region, first) if later else None
        if later is not None and earlier is not None:
            await self._judge("monotonic writes, writes follow reads", first, region, before, earlier, later)
        return True

    async def _judge(
        self, guarantee: str, place: Place, region: str, token: str | None, found: int, wanted: int
    ) -> None:
        self.ledger.checks[guarantee] += 1
        if found >= wanted:
            return
        at, access = time.monotonic(), self.cells[region].access
        known = NOTHING
        with contextlib.suppress(state.StateError):
            known = await access.regional.store.vector()
        needs = access.scope(token).session.needs()
        self.ledger.backwards.append(Backwards(guarantee, place, region, found, wanted, at, needs, known))

    async def _value(self, region: str, place: Place) -> int | None:
        """Of a register, 0 if there is none; None if the region does not serve it."""
        try:
            found = await self._served(region, state.namespace(place.namespace).register(place.key, int).get)
        except state.StateError:
            return None
        assert found is None or isinstance(found, int)
        return found or 0

    def _register(self, name: str) -> Place:
        return Place(self.namespace, Kind.REGISTER, f"{name}.{self.number}.{self._generation}")

    def _shared(self, kind: Kind, part: str = "") -> Place:
        return Place(self.namespace, kind, f"shared.{self.chance.randrange(SHARED)}", part)


def _writing(place: Place, value: int | None) -> Callable[[], Awaitable[object]]:
    namespace = state.namespace(place.namespace)
    match place.kind:
        case Kind.REGISTER:
            return lambda: namespace.register(place.key, int).set(value or 0)
        case Kind.COUNTER:
            return lambda: namespace.counter(place.key).add(value or 0)
        case Kind.SET:
            elements = namespace.set(place.key)
            return lambda: elements.remove(place.part) if value is None else elements.add(place.part)
        case Kind.MAP:
            fields = namespace.map(place.key, int)
            return lambda: fields.remove(place.part) if value is None else fields.set(place.part, value)


@dataclass(slots=True)
class StrongClient:
    """One client of the strong namespace: it reads and writes registers, and buys postcards."""

    cells: Cells
    ledger: Ledger
    namespace: str
    number: int
    region: str
    chance: Random
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)

    async def run(self, target: int) -> None:
        while not self.ledger.closed and (acked := self.ledger.acked(self.namespace)) < target:
            chosen, number = self.chance.random(), acked // WRITES_A_ROUND
            if chosen < 0.15:
                done = await self._buy(f"postcard.{number}.{self.chance.randrange(KEYS // 2)}")
            elif chosen < 0.35:
                done = await self.read(f"{number}.{self.chance.randrange(KEYS)}", self.region)
            else:
                done = await self._change(f"{number}.{self.chance.randrange(KEYS)}")
            if not done:
                await asyncio.sleep(PAUSE_S)

    async def read(self, key: str, region: str) -> bool:
        called = time.monotonic()
        try:
            found = await self.cells[region].access.regional.strong.get(
                self.namespace, key, timeout_s=PATIENCE_S
            )
        except state.Unavailable:
            return False
        self.ledger.events.append(Event(key, Call(Got(found), called, time.monotonic())))
        return True

    async def _change(self, key: str) -> bool:
        """Writes, and asks again under the same operation id, elsewhere as well, until it has an outcome."""
        name = f"{self.number}.{next(self._turns)}"
        change = backend.Change(
            self.chance.choice((backend.ANY, backend.ANY, backend.ABSENT)), name.encode(), name
        )
        called = time.monotonic()
        outcome, unknown = None, False
        for region in self._around():
            try:
                strong = self.cells[region].access.regional.strong
                outcome = await strong.change(self.namespace, key, change, timeout_s=PATIENCE_S)
                break
            except state.Unknown:
                unknown = True
            except state.Unavailable:
                pass
        returned = None if outcome is None else time.monotonic()
        if outcome is not None or unknown:
            self.ledger.events.append(Event(key, Call(Changed(change, outcome), called, returned)))
        if not isinstance(outcome, backend.Conflict):
            self._count(Outcome.ACKED if outcome else Outcome.UNKNOWN if unknown else Outcome.REFUSED)
        return outcome is not None

    async def _buy(self, sku: str) -> bool:
        """One postcard, paid once whatever happens, since every try has the same operation id."""
        name, unknown = f"{self.number}.{next(self._turns)}", False
        stock = state.strong(self.namespace, int)
        for region in self._around():
            scope = self.cells[region].access.scope(None, Deadline(SystemClock(), PATIENCE_S))
            try:
                with entered(scope):
                    if await stock.get(sku) is None:
                        await stock.create(sku, STOCKED, operation=f"stock/{sku}")
                        self.ledger.stocked[sku] = STOCKED
                    await stock.update(sku, _one_less, operation=name)
            except (state.Unavailable, state.Changed):
                continue
            except state.Unknown:
                unknown = True
            except LookupError:  # sold out, perhaps by the try before
                if unknown:
                    break
                return True
            else:
                return self._sold(sku, Outcome.ACKED)
        return self._sold(sku, Outcome.UNKNOWN if unknown else Outcome.REFUSED)

    def _sold(self, sku: str, outcome: Outcome) -> bool:
        self.ledger.stocked.setdefault(sku, STOCKED)
        self.ledger.sales.append(Sale(sku, outcome))
        self._count(outcome)
        return outcome is Outcome.ACKED

    def _count(self, outcome: Outcome) -> None:
        self.ledger.outcomes[self.namespace, outcome] += 1

    def _around(self) -> list[str]:
        """The own region first, then the others."""
        others = [region for region in self.cells.regions if region != self.region]
        return [self.region, *self.chance.sample(others, len(others))]


def _one_less(left: int | None) -> int:
    if not left:
        raise LookupError
    return left - 1
