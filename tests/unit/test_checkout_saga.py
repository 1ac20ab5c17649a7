"""Purchases under seeded faults: each happens once or not at all, and doesn't once a mechanism is left out.

The saga, its steps, the inventory, the payments and the SDK are those of the services. Virtual are time, the network of
the registers, and the crashes: an attempt ends at any of its awaits, and leaves behind what is on its way.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import TypeVar

import pytest
from tests.unit.shop_state import Registers, shop_state

from atoll import state
from atoll.clock import Clock
from atoll.simulate.loop import VirtualLoop, run
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.scope import entered
from atoll_services.checkout.abandoned import Abandoned
from atoll_services.checkout.order import Order, Phase
from atoll_services.checkout.payments import Charge, ChargeState, Payments
from atoll_services.checkout.saga import Attempt, Saga, Step
from atoll_services.checkout.steps import Pay, Reserve, purchase_steps
from atoll_services.inventory.inventory import Inventory
from atoll_services.inventory.stock import HELD_S, ReservationState, Stock

SKUS = ("dublin", "tokyo")
ON_HAND = 4
BUYERS = 4
PROCESSES = 5
"""Whose updates don't share changes with each other's."""
SEEDS = 250
SENT = 5
"""How often each purchase is sent before the faults end; then it is sent until it has an outcome."""

T = TypeVar("T")
Steps = Callable[[Random], Sequence[Step]]


def as_built(chance: Random) -> Sequence[Step]:
    return purchase_steps(_clock())


def paid_first(chance: Random) -> Sequence[Step]:
    """Another order of the steps, in which charges need to be refunded."""
    return tuple(reversed(purchase_steps(_clock())))


def _clock() -> Clock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.clock


@dataclass
class Found:
    """What there is in the end."""

    outcomes: dict[str, set[Phase]] = field(default_factory=dict)
    """All answers, by purchase."""
    orders: dict[str, Order] = field(default_factory=dict)
    charges: Counter[ChargeState] = field(default_factory=Counter)
    stock: dict[str, Stock] = field(default_factory=dict)
    crashes: int = 0
    unfinished: int = 0

    def placed(self) -> dict[str, Order]:
        return {name: order for name, order in self.orders.items() if order.phase is Phase.PLACED}

    def bought(self, sku: str) -> int:
        return sum(order.items.get(sku, 0) for order in self.placed().values())

    def wrong_where_some_gave_up(self) -> list[str]:
        """Purchases that hold nothing may stay as they are."""
        placed = self.placed()
        said = [
            f"{name} was told {phases}, and is {self.orders[name].phase}"
            for name, phases in self.outcomes.items()
            if phases and phases != {self.orders[name].phase}
        ]
        if self.charges[ChargeState.CHARGED] != len(placed):
            said.append(f"{self.charges[ChargeState.CHARGED]} charges for {len(placed)} orders")
        for sku, stock in self.stock.items():
            held = [name for name, one in stock.reservations.items() if one.state is ReservationState.HELD]
            said += [f"{name} holds {sku} for ever" for name in held if name not in placed]
            if self.bought(sku) != ON_HAND or stock.available != 0:
                said.append(f"{self.bought(sku)} of {ON_HAND} {sku} were bought, {stock.available} are left")
        return said

    def wrong(self) -> list[str]:
        placed = self.placed()
        said = [f"{name} was told {phases}" for name, phases in self.outcomes.items() if len(phases) != 1]
        said += [f"{name} is {one.phase}, not closed" for name, one in self.orders.items() if not one.closed]
        if self.charges[ChargeState.CHARGED] != len(placed):
            said.append(f"{self.charges[ChargeState.CHARGED]} charges for {len(placed)} orders")
        for sku, stock in self.stock.items():
            bought = self.bought(sku)
            if stock.held:
                said.append(f"{stock.held} of {sku} are held for ever")
            if stock.on_hand != ON_HAND - bought or stock.on_hand < 0:
                said.append(f"{bought} of {ON_HAND} {sku} were bought, and {stock.on_hand} are left")
        return said


def simulate(seed: int, steps: Steps = as_built, *, give_up: bool = False) -> Found:
    """`give_up`: nobody goes on with purchases that had no outcome after `SENT` tries; somebody wants the rest."""
    loop, chance = VirtualLoop(), Random(seed)
    return run(loop, _simulated(chance, loop, steps, give_up=give_up))


async def _simulated(chance: Random, loop: VirtualLoop, steps: Steps, *, give_up: bool) -> Found:
    registers = Registers(chance, loss=chance.choice((0.0, 0.05, 0.2)))
    registers.remembered = chance.choice((2, 64))  # the saga doesn't need the registers' memory of operations
    processes = [shop_state(loop.clock, registers, chance) for _ in range(PROCESSES)]
    found = Found()
    with entered(processes[0].scope()):
        inventory = Inventory(loop.clock)
        for sku in SKUS:
            await _until_done(partial(inventory.count, sku, ON_HAND))
        names = [f"p{number}" for number in range(BUYERS)]
        await asyncio.gather(
            *(_buyer(name, chance, processes, steps, found, give_up=give_up) for name in names)
        )
        registers.loss = 0.0
        await asyncio.sleep(60)  # whatever is late has come
        if give_up:
            await asyncio.sleep(HELD_S)
            await _buy_the_rest(names, steps(chance), found)
        for sku in SKUS:
            found.stock[sku] = await inventory.stock(sku) or Stock()
        for (namespace, key), value in registers.values.items():
            if namespace == "payments" and value.payload is not None:
                charge = await state.strong(namespace, Charge).get(key)
                assert charge is not None
                found.charges[charge.value.state] += 1
    return found


async def _buyer(
    name: str,
    chance: Random,
    processes: Sequence[StateAccess],
    steps: Steps,
    found: Found,
    *,
    give_up: bool,
) -> None:
    """Sends one purchase several times, now and then while an earlier one is still at work."""
    items = {sku: chance.randint(1, 2) for sku in SKUS if chance.random() < 0.7} or {SKUS[0]: 1}
    wanted = Order(items=items, cents=250 * sum(items.values()), fingerprint=name)
    card = "declined" if chance.random() < 0.2 else "visa"
    outcomes = found.outcomes.setdefault(name, set())

    async def attempt() -> None:
        with entered(chance.choice(processes).scope()):
            outcomes.add((await Saga(steps(chance)).carry_out(name, wanted, card)).phase)

    async def sent() -> None:
        attempting = asyncio.create_task(attempt())
        if chance.random() < 0.5:
            await asyncio.sleep(chance.uniform(0, 2))
            found.crashes += not attempting.done()
            attempting.cancel()
        told = await asyncio.gather(attempting, return_exceptions=True)
        if isinstance(told[0], (state.Unavailable, state.Unknown)):
            found.unfinished += 1
        elif isinstance(told[0], Exception):
            raise told[0]

    sending = []
    for _ in range(SENT):
        sending.append(asyncio.create_task(sent()))
        await asyncio.sleep(chance.choice((0, 0.1, 1.0)))
    await asyncio.gather(*sending)
    if give_up:
        return
    await _until_done(attempt)
    found.orders[name] = await _until_done(partial(_order, name))


async def _buy_the_rest(names: Sequence[str], steps: Sequence[Step], found: Found) -> None:
    """One buyer an article wants all that no placed order has."""
    for name in names:
        if (order := await Saga(()).order(name)) is not None:
            found.orders[name] = order
    for sku in SKUS:
        if rest := ON_HAND - found.bought(sku):
            name = f"the rest of {sku}"
            wanted = Order(items={sku: rest}, cents=250 * rest, fingerprint=name)
            found.orders[name] = await Saga(steps).carry_out(name, wanted, "visa")
            found.outcomes[name] = {Phase.PLACED}
    for name in names:
        if name in found.orders:
            found.orders[name] = await _order(name)


async def _order(name: str) -> Order:
    order = await Saga(()).order(name)
    assert order is not None
    return order


async def _until_done(ask: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await ask()
        except (state.Unavailable, state.Unknown):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("steps", [as_built, paid_first])
def test_a_purchase_happens_once_or_not_at_all(steps: Steps) -> None:
    phases: Counter[Phase] = Counter()
    crashes = unfinished = 0
    for seed in range(SEEDS):
        found = simulate(seed, steps)
        assert not found.wrong(), f"seed {seed}: {found.wrong()}"
        phases.update(order.phase for order in found.orders.values())
        crashes += found.crashes
        unfinished += found.unfinished
    assert min(phases[Phase.PLACED], phases[Phase.FAILED]) > SEEDS // 2, phases
    assert min(crashes, unfinished) > SEEDS // 2, (crashes, unfinished)


def test_what_nobody_goes_on_with_is_there_for_the_next_buyer() -> None:
    ended = 0
    for seed in range(SEEDS // 2):
        found = simulate(seed, give_up=True)
        wrong = found.wrong_where_some_gave_up()
        assert not wrong, f"seed {seed}: {wrong}"
        reasons = [order.reason.kind for order in found.orders.values() if order.reason is not None]
        ended += reasons.count("abandoned")
    assert ended > SEEDS // 20, ended


def never_ended(chance: Random) -> Sequence[Step]:
    return Reserve(Inventory(_clock())), Pay(Payments())


def lapsed(chance: Random) -> Sequence[Step]:
    """Reservations end by themselves, whatever was decided of what they are held for."""
    inventory = Inventory(_clock())

    class Lapsing(Abandoned):
        async def end(self, sku: str, names: Iterable[str]) -> None:
            for name in names:
                await inventory.lapse(sku, name)

    return Reserve(inventory, Lapsing(inventory, Saga(()))), Pay(Payments())


@pytest.mark.parametrize(("steps", "says"), [(never_ended, "for ever"), (lapsed, "charges for")])
def test_it_is_ended_and_with_its_whole_purchase(steps: Steps, says: str) -> None:
    for seed in range(400):
        if any(says in wrong for wrong in simulate(seed, steps, give_up=True).wrong_where_some_gave_up()):
            return
    pytest.fail(f"no seed shows what {steps.__name__} does")


def test_a_seed_always_gives_the_same_run() -> None:
    assert simulate(11) == simulate(11)


@dataclass
class Wrapped:
    """A step, changed."""

    step: Step

    async def do(self, attempt: Attempt) -> None:
        await self.step.do(attempt)

    async def undo(self, attempt: Attempt) -> None:
        await self.step.undo(attempt)

    async def keep(self, attempt: Attempt) -> None:
        await self.step.keep(attempt)


class Unkeyed(Wrapped):
    """Each attempt names its effects anew."""

    def __init__(self, step: Step, chance: Random) -> None:
        super().__init__(step)
        self._nonce = f"-{chance.getrandbits(32):x}"

    async def do(self, attempt: Attempt) -> None:
        await self.step.do(replace(attempt, name=attempt.name + self._nonce))

    async def undo(self, attempt: Attempt) -> None:
        await self.step.undo(replace(attempt, name=attempt.name + self._nonce))

    async def keep(self, attempt: Attempt) -> None:
        await self.step.keep(replace(attempt, name=attempt.name + self._nonce))


class Forgetful(Wrapped):
    """Gives back what is held, and leaves nothing behind that would refuse who comes late."""

    async def undo(self, attempt: Attempt) -> None:
        for sku in attempt.order.items:
            await state.strong("stock", Stock).update(sku, lambda stock: _without(stock, attempt.name))


def _without(stock: Stock | None, name: str) -> Stock:
    assert stock is not None
    kept = {other: one for other, one in stock.reservations.items() if other != name}
    return stock.model_copy(update={"reservations": kept})


class Careless(Wrapped):
    """Never undoes."""

    async def undo(self, attempt: Attempt) -> None:
        pass


class Early(Wrapped):
    """Sells before the order is placed."""

    async def do(self, attempt: Attempt) -> None:
        await self.step.do(attempt)
        await self.step.keep(attempt)

    async def undo(self, attempt: Attempt) -> None:
        pass


def unkeyed_payment(chance: Random) -> Sequence[Step]:
    return Reserve(Inventory(_clock())), Unkeyed(Pay(Payments()), chance)


def unkeyed_reservation(chance: Random) -> Sequence[Step]:
    return Unkeyed(Reserve(Inventory(_clock())), chance), Pay(Payments())


def forgetful(chance: Random) -> Sequence[Step]:
    return Forgetful(Reserve(Inventory(_clock()))), Pay(Payments())


def no_refund(chance: Random) -> Sequence[Step]:
    return Careless(Pay(Payments())), Reserve(Inventory(_clock()))


def no_release(chance: Random) -> Sequence[Step]:
    return Careless(Reserve(Inventory(_clock()))), Pay(Payments())


def sold_early(chance: Random) -> Sequence[Step]:
    return Early(Reserve(Inventory(_clock()))), Pay(Payments())


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (unkeyed_payment, "charges for"),
        (unkeyed_reservation, "held for ever"),
        (forgetful, "held for ever"),
        (no_refund, "charges for"),
        (no_release, "held for ever"),
        (sold_early, "are left"),
    ],
)
def test_without_one_of_its_mechanisms_the_simulation_finds_it_out(steps: Steps, says: str) -> None:
    for seed in range(400):
        if any(says in wrong for wrong in simulate(seed, steps).wrong()):
            return
    pytest.fail(f"no seed shows what {steps.__name__} does")
