"""The drill: clients write under faults, all is healed, and what is there then is held against what they were told."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

from atoll import state
from atoll.state.kind import Kind
from atoll.state.sdk.scope import entered
from loadtests.state.cells import Cells, cells, until
from loadtests.state.faults import Fault, Faults
from loadtests.state.ledger import Ledger, Place
from loadtests.state.verdict import Final, Verdict, decide
from loadtests.state.writers import Client, StrongClient

PROMISES = {
    "eventual/region": "local",
    "eventual/remote": "kept",
    "session/region": "carts",
    "session/remote": "orders",
    "strong/majority": "stock",
}
"""Level and durability -> the namespace that promises them."""
REMOTE = frozenset({"kept", "orders"})
SESSION = frozenset({"carts", "orders"})
STRONG = "stock"
WIPE_AT = 0.4
"""Share of the writes after which a disk is lost."""
EQUAL_WITHIN_S = 60.0
"""When waiting for equal replicas is given up."""
WAITING = 4
"""Clients that wait for other regions now and then, for each that never does."""
AT_ONCE = 32
LOOK_S = 0.5
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run."""

    writes: int
    """Acknowledged ones for each promise."""
    seed: int
    within_s: float
    """When writing is given up."""
    clients: int = 3
    """Of each promise in each region; of all but `eventual/region` four times as many."""
    faults: tuple[Fault, ...] | None = None
    """None: as the seed's schedule goes, as long as clients write."""
    wipe: bool = True
    equal_within_s: float = EQUAL_WITHIN_S
    agent: str = "atoll.agent"
    """The module that agents run; a control puts a broken one in its place."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    settings: Settings
    verdict: Verdict
    ledger: Ledger
    final: Final
    faults: Faults
    written_s: float

    @property
    def complete(self) -> bool:
        """Whether so many writes were acknowledged as were wanted, and all faults were had."""
        enough = all(self.ledger.acked(name) >= self.settings.writes for name in PROMISES.values())
        return enough and bool(self.faults.wiped) >= self.settings.wipe


async def drill(folder: Path, settings: Settings) -> Result:
    """Raises `CellsError` if the regions can't be run."""
    ledger = Ledger(tuple(PROMISES.values()))
    async with cells(folder, settings.agent) as running:
        faults = Faults(running, Random(settings.seed))
        began = time.monotonic()
        await _write(running, ledger, faults, settings)
        written_s = time.monotonic() - began
        final = await _final(running, ledger, faults, settings.equal_within_s)
    log.info("judging")
    return Result(settings, decide(ledger, final, REMOTE), ledger, final, faults, written_s)


async def _write(running: Cells, ledger: Ledger, faults: Faults, settings: Settings) -> None:
    """Clients and faults side by side. All is healed when it returns."""
    stop = asyncio.Event()
    trouble = asyncio.create_task(faults.run(stop, settings.faults))
    watch = asyncio.create_task(_watch(ledger, faults, settings))
    clients = [
        asyncio.create_task(client.run(settings.writes)) for client in _clients(running, ledger, settings)
    ]
    writing = [*clients, *([trouble] if settings.faults is not None else [])]
    _, late = await asyncio.wait(writing, timeout=settings.within_s, return_when=asyncio.FIRST_EXCEPTION)
    if late:
        log.warning("gave up writing after %.0f s", settings.within_s)
    ledger.closed = True
    stop.set()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    await asyncio.gather(*clients)
    await trouble


def _clients(running: Cells, ledger: Ledger, settings: Settings) -> Iterable[Client | StrongClient]:
    numbers = iter(range(10**6))
    for namespace in PROMISES.values():
        for region in running.regions:
            for _ in range(settings.clients * (WAITING if namespace in {STRONG, *REMOTE, *SESSION} else 1)):
                number = next(numbers)
                chance = Random(f"{settings.seed}/{number}")
                if namespace == STRONG:
                    yield StrongClient(running, ledger, namespace, number, region, chance)
                else:
                    yield Client(running, ledger, namespace, number, region, chance, namespace in SESSION)


async def _watch(ledger: Ledger, faults: Faults, settings: Settings) -> None:
    """Says how far it is, and when it is time to lose a disk."""
    while True:
        await asyncio.sleep(LOOK_S)
        acked = {promise: ledger.acked(name) for promise, name in PROMISES.items()}
        if settings.wipe and sum(acked.values()) >= WIPE_AT * settings.writes * len(acked):
            faults.wipe.set()
        log.info("acknowledged: %s", ", ".join(f"{promise} {number}" for promise, number in acked.items()))


async def _final(running: Cells, ledger: Ledger, faults: Faults, equal_within_s: float) -> Final:
    """Waits until all replicas are equal, and reads everything in every region that can be read."""
    healed = time.monotonic()
    equal_after_s: float | None = None
    try:
        await until(running.equal, equal_within_s)
        equal_after_s = time.monotonic() - healed
    except TimeoutError:
        log.warning("replicas are not equal")
    log.info("equal after %s s; reading all", equal_after_s)
    found, known = {}, {}
    for region in running.regions:
        try:
            found[region] = await _read(running, region, ledger)
            known[region] = await running[region].data.vector()
        except state.StateError as error:
            log.warning("%s can't be read: %s", region, error)
            equal_after_s = None
    stock: dict[str, int] | None = None
    try:
        await until(running.founded, equal_within_s)
        reader = StrongClient(running, ledger, STRONG, 0, running.regions[0], Random(0))
        keys = sorted({event.key for event in ledger.events})
        await _all(
            lambda at=index, key=key: reader.read(key, running.regions[at % len(running.regions)])  # type: ignore[misc]
            for index, key in enumerate(keys)
        )
        stock = await _stock(running, ledger)
    except (TimeoutError, state.Unavailable) as error:
        log.warning("strong registers don't answer: %r", error)
    return Final(found, known, stock, frozenset(faults.wiped), equal_after_s, tuple(faults.troubles))


async def _read(running: Cells, region: str, ledger: Ledger) -> dict[Place, int]:
    found: dict[Place, int] = {}

    async def one(name: str, kind: Kind, key: str) -> None:
        namespace = state.namespace(name)
        if kind is Kind.REGISTER:
            if (value := await namespace.register(key, int).get()) is not None:
                found[Place(name, kind, key)] = value
        elif kind is Kind.COUNTER:
            found[Place(name, kind, key)] = await namespace.counter(key).value()
        elif kind is Kind.SET:
            found.update({Place(name, kind, key, part): 1 for part in await namespace.set(key).members()})
        else:
            parts = await namespace.map(key, int).items()
            found.update({Place(name, kind, key, part): value for part, value in parts.items()})

    with entered(running[region].access.scope()):
        objects = {(place.namespace, place.kind, place.key) for place in ledger.writes}
        await _all(lambda at=at: one(*at) for at in objects)  # type: ignore[misc]
    return found


async def _stock(running: Cells, ledger: Ledger) -> dict[str, int]:
    left = {}
    stock = state.strong(STRONG, int)
    with entered(running[running.regions[-1]].access.scope()):
        for sku in ledger.stocked:
            if (found := await stock.get(sku)) is not None:
                left[sku] = found.value
    return left


async def _all(calls: Iterable[Callable[[], Awaitable[T]]]) -> None:
    """Some at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(call: Callable[[], Awaitable[T]]) -> None:
        async with room:
            await call()

    await asyncio.gather(*(one(call) for call in calls))
