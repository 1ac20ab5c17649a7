"""The Valkey functions against the model in Python: the same operations, the same answers, the same bytes."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.integration.state_stores import OPENING, ToldStore, state_server, tellable_library

from atoll.clock import ManualClock
from atoll.state import compare
from atoll.state.errors import StateError, StoreRefused
from atoll.state.kind import Kind
from atoll.state.model import ModelStore
from atoll.state.opening import Library
from atoll.state.operation import decode
from atoll.state.stamp import wall_ms
from atoll.state.store import (
    ApplyOutcome,
    ApplyResult,
    Batch,
    CellChange,
    Change,
    CounterChange,
    LogSlice,
    MergeResult,
    SetChange,
)
from atoll.state.vector import Dot, Vector

pytestmark = pytest.mark.timeout(240)

REGIONS = ("eu", "us", "ap")
NAMESPACES = ("carts", "prices")
KEYS = ("a", "b", "key|with:marks", "ключ", "long" * 30)
FIELDS = ("", "x", "y", "ф|,:")
PAYLOADS = (b"", b"1", b"a|b||c", bytes(range(256)), b"v" * 5000)

Ask = Callable[[], Coroutine[Any, Any, object]]


@dataclass(slots=True)
class Twin:
    """A region's store twice."""

    region: str
    clock: ManualClock
    model: ModelStore
    store: ToldStore


@dataclass(slots=True)
class Expectation:
    """One operation: what the model answered, and what the store is about to answer."""

    what: str
    expected: object
    answer: "asyncio.Task[object]"


class Twins:
    """Regions whose models decide what happens; the stores are asked the same, and compared afterwards."""

    def __init__(self, twins: dict[str, Twin], random: Random) -> None:
        self.twins = twins
        self.random = random
        self.asked: list[Expectation] = []
        self.operations = 0
        self.outcomes: set[ApplyOutcome] = set()
        self.effective: set[str] = set()
        """What has changed something at least once."""

    def ask(self, twin: Twin, what: str, model: Callable[[], object], store: Ask) -> object:
        self.operations += 1
        try:
            expected: object = model()
        except StoreRefused as refused:
            expected = refused
        if isinstance(expected, ApplyResult):
            self.outcomes.add(expected.outcome)
        if expected and (
            isinstance(expected, int) or (isinstance(expected, MergeResult) and expected.merged)
        ):
            self.effective.add(what.split(maxsplit=1)[0])
        answer = asyncio.get_running_loop().create_task(_told(twin, wall_ms(twin.clock), store))
        self.asked.append(Expectation(f"{self.operations} {twin.region}: {what}", expected, answer))
        return expected

    async def settle(self) -> None:
        """Waits for all answers and compares them."""
        for asked in self.asked:
            got = _comparable(await _outcome(asked.answer))
            assert got == _comparable(asked.expected), asked.what
        self.asked = []

    async def drop(self) -> None:
        """Forgets what is still asked, so that no answer is left over."""
        await asyncio.gather(*(asked.answer for asked in self.asked), return_exceptions=True)

    # --- What can happen

    async def step(self) -> None:
        random = self.random
        twin = random.choice(list(self.twins.values()))
        passed = random.choice((0, 0, 0, 0.0001, 0.001, 0.02, 0.3))
        for one in self.twins.values():  # alike, so that stamps of regions are often equal
            one.clock.advance(passed)
        happening = random.choices(
            (self.write, self.replicate, self.heartbeat, self.look, self.upkeep, self.transfer, self.upset),
            (50, 25, 5, 8, 8, 3, 2),
        )[0]
        await happening(twin)

    async def write(self, twin: Twin) -> None:
        random, model, store = self.random, twin.model, twin.store
        namespace, kind = random.choice(NAMESPACES), random.choice(list(Kind))
        key = random.choices(KEYS, (6, 1, 1, 1, 1))[0]  # one where regions meet
        changes = self._changes(twin, kind)
        deps = Vector()
        if random.random() < 0.1:
            deps = Vector({random.choice(list(model.vector()) or ["zz.1700000000"]): random.randint(1, 30)})
        self.ask(
            twin,
            f"write {namespace} {kind} {key} {changes}",
            lambda: model.write(namespace, kind, key, changes, deps),
            lambda: store.write(namespace, kind, key, changes, deps),
        )

    def _changes(self, twin: Twin, kind: Kind) -> list[Change]:
        random = self.random
        now_ms = wall_ms(twin.clock)
        if kind is Kind.COUNTER:
            return [CounterChange(random.choice((1, -1, 0, 7, -(2**40), 2**52)))]
        names = [""] if kind is Kind.REGISTER else random.sample(FIELDS, random.randint(1, 3))
        if kind is Kind.SET:
            return [SetChange(name, random.random() < 0.6) for name in names]
        changes: list[Change] = []
        for name in names:
            if random.random() < 0.3:
                changes.append(CellChange(name, None))
            else:
                # Expiries differ: among equal ones the two stores need not purge in the same order.
                self.operations += 1
                expiry = now_ms + self.operations + random.choice((1, 500)) if random.random() < 0.3 else 0
                changes.append(CellChange(name, random.choice(PAYLOADS), expiry))
        return changes

    async def replicate(self, twin: Twin) -> None:
        """A batch from another region's log: from the cursor, or from elsewhere; with holes."""
        random, model, store = self.random, twin.model, twin.store
        sender = random.choice([one for one in self.twins.values() if one is not twin])
        after = model.vector().latest(sender.region)
        if random.random() < 0.1 and after is not None:
            after = after._replace(seq=max(0, after.seq - random.randint(1, 10)))  # an old batch once more
        found = sender.model.read_log(after, random.choice((1, 5, 40)))
        if found.gap or not found.entries:
            return
        actor = found.entries[0].dot.actor
        entries = [(entry.dot.seq, entry.operation) for entry in found.entries if entry.dot.actor == actor]
        first, through = entries[0][0] - 1, entries[-1][0] + random.choice((0, 0, 0, 3))
        if random.random() < 0.1:
            entries = [entry for entry in entries if random.random() < 0.5]
        if random.random() < 0.1:
            first = max(0, first + random.choice((-3, 2, 40)))
        if random.random() < 0.03 and entries:
            broken = random.choice(
                (b"", b"\xc1", b"\x92\x02\xa1w", b"\x91\x01", entries[0][1][:-9], b"\x93\x01\xa1z\xa0")
            )
            entries[random.randrange(len(entries))] = (entries[0][0], broken)
            entries.sort(key=lambda entry: entry[0])
        through = max([through, first + 1, *(seq for seq, _ in entries)])
        newest = sender.model.vector().seq(actor)
        batch = Batch(actor, first, min(through, max(newest, first + 1)), tuple(entries))
        self.ask(twin, f"apply {batch}", lambda: model.apply(batch), lambda: store.apply(batch))

    async def heartbeat(self, twin: Twin) -> None:
        self.ask(twin, "heartbeat", twin.model.heartbeat, twin.store.heartbeat)

    async def upkeep(self, twin: Twin) -> None:
        random, model, store = self.random, twin.model, twin.store
        limit = random.choice((1, 3, 1000))
        stable = model.vector()
        for peer in model.peers().values():
            stable = stable.meet(peer.vector)
        match random.randrange(6):
            case 0:
                self.ask(twin, "expire", lambda: model.expire(limit), lambda: store.expire(limit))
            case 1 | 2:
                self.ask(
                    twin,
                    "collect",
                    lambda: model.collect(stable, limit),
                    lambda: store.collect(stable, limit),
                )
            case 3:
                before = model.vector().latest(twin.region)
                if before is not None:
                    cut = before._replace(seq=max(1, before.seq - random.choice((-1, 0, 20, 100))))
                    self.ask(twin, f"trim {cut}", lambda: model.trim(cut), lambda: store.trim(cut))
            case 4:
                reason = random.choice(("", "", "off by 3 s"))
                self.ask(twin, f"refuse {reason}", lambda: model.refuse(reason), lambda: store.refuse(reason))
            case _:
                self.ask(twin, "complete", model.complete, store.complete)

    async def look(self, twin: Twin) -> None:
        random, model, store = self.random, twin.model, twin.store
        namespace, key, field = random.choice(NAMESPACES), random.choice(KEYS), random.choice(FIELDS)
        after = random.choice((None, model.vector().latest(twin.region), Dot(f"{twin.region}.1700000000", 3)))
        choices: tuple[tuple[str, Callable[[], object], Ask], ...] = (
            (
                "register",
                lambda: model.read_register(namespace, key),
                lambda: store.read_register(namespace, key),
            ),
            ("map", lambda: model.read_map(namespace, key), lambda: store.read_map(namespace, key)),
            (
                "field",
                lambda: model.read_field(namespace, key, field),
                lambda: store.read_field(namespace, key, field),
            ),
            (
                "counter",
                lambda: model.read_counter(namespace, key),
                lambda: store.read_counter(namespace, key),
            ),
            ("set", lambda: model.read_set(namespace, key), lambda: store.read_set(namespace, key)),
            (
                "element",
                lambda: model.read_element(namespace, key, field),
                lambda: store.read_element(namespace, key, field),
            ),
            ("vector", model.vector, store.vector),
            ("clock", model.clock, store.clock),
            ("log", lambda: model.read_log(after, 10), lambda: store.read_log(after, 10)),
            ("conflicts", lambda: model.conflicts(3), lambda: store.conflicts(3)),
        )
        self.ask(twin, *random.choice(choices))

    async def transfer(self, twin: Twin) -> None:
        """All of a transfer from a peer, or only a part of it."""
        random, model, store = self.random, twin.model, twin.store
        peer = random.choice([one for one in self.twins.values() if one is not twin]).model
        vector = peer.vector()
        for namespace in NAMESPACES:
            for bucket in sorted({*peer.digests(namespace), *model.digests(namespace)}):
                theirs, ours = peer.listing(namespace, bucket), model.listing(namespace, bucket)
                wanted = compare.newer(ours, theirs)
                if random.random() < 0.1:
                    wanted = tuple(cell.at for cell in theirs.cells)
                cells = peer.cells(namespace, wanted)
                self.ask(
                    twin,
                    f"merge {namespace} {cells}",
                    lambda n=namespace, c=cells: model.merge(n, c),  # type: ignore[misc]
                    lambda n=namespace, c=cells: store.merge(n, c),  # type: ignore[misc]
                )
                self.ask(
                    twin,
                    f"settle {namespace} {bucket} {theirs}",
                    lambda n=namespace, b=bucket, t=theirs: model.settle(n, b, t),  # type: ignore[misc]
                    lambda n=namespace, b=bucket, t=theirs: store.settle(n, b, t),  # type: ignore[misc]
                )
        if random.random() < 0.7:
            stamp = peer.clock()
            self.ask(
                twin, "raise", lambda: model.raise_to(vector, stamp), lambda: store.raise_to(vector, stamp)
            )

    async def upset(self, twin: Twin) -> None:
        random = self.random
        if random.random() < 0.3:
            twin.clock.epoch += random.choice((-3, -0.2, 0.2, 3))
            return
        floor = max(
            (
                int(actor[-10:])
                for one in self.twins.values()
                for actor in one.model.vector()
                if actor.startswith(twin.region)
            ),
            default=0,
        )
        if random.random() < 0.3:
            twin.model.wipe()
            await self.settle()
            await twin.store.calls.command("FLUSHALL")
        elif random.random() < 0.8:
            twin.model.crash()
            await self.settle()
            await twin.store.load()
        if random.random() < 0.3:
            await self.write(twin)
            await self.heartbeat(twin)
        self.open(twin, floor)

    def open(self, twin: Twin, floor: int) -> None:
        model, store, region = twin.model, twin.store, twin.region
        self.ask(
            twin,
            f"open {floor}",
            lambda: model.open(region, "d", floor=floor),
            lambda: store.open(region, "d", floor=floor),
        )

    async def compare(self) -> None:
        """Everything that there is."""
        await self.settle()
        for twin in self.twins.values():
            model, store = twin.model, twin.store
            assert await store.vector() == model.vector()
            assert await store.clock() == model.clock()
            assert await store.peers() == model.peers()
            assert await store.namespaces() == model.namespaces()
            assert await store.conflicts(1000) == model.conflicts(1000)
            assert replace(await store.statistics(), log_bytes=0) == replace(model.statistics(), log_bytes=0)
            for namespace in NAMESPACES:
                assert await store.digests(namespace) == model.digests(namespace)
                for kind in Kind:
                    assert await store.keys(namespace, kind, "", 3) == model.keys(namespace, kind, "", 3)
                for bucket in model.digests(namespace):
                    listing = model.listing(namespace, bucket)
                    assert await store.listing(namespace, bucket) == listing
                    wanted = [cell.at for cell in listing.cells]
                    assert await store.cells(namespace, wanted) == model.cells(namespace, wanted)
            assert _comparable(await store.read_log(None, 100_000)) == _comparable(
                model.read_log(None, 100_000)
            )


async def _told(twin: Twin, now_ms: int, ask: Ask) -> object:
    """Nothing is awaited in between: what is asked goes out right behind the time."""
    twin.store.tell(now_ms)
    return await ask()


async def _outcome(answer: "asyncio.Task[object]") -> object:
    try:
        return await answer
    except StoreRefused as refused:
        return refused


def _comparable(answer: object) -> object:
    """Operations of a log are decoded: their bytes may differ in how numbers and empty maps are written."""
    if isinstance(answer, StoreRefused):
        return answer.refusal, answer.detail
    if isinstance(answer, LogSlice):
        return answer.gap, [(entry.dot, entry.namespace, decode(entry.operation)) for entry in answer.entries]
    return answer


@pytest.mark.parametrize("seed", range(2))
async def test_the_functions_do_what_the_model_does(tmp_path: Path, seed: int) -> None:
    world = await _run(tmp_path, seed, 1500)
    assert world.operations > 3000
    assert world.outcomes == set(ApplyOutcome)
    assert world.effective >= {"merge", "settle", "collect", "expire", "trim", "raise"}
    assert any(twin.model.conflicts(1) for twin in world.twins.values())


@pytest.mark.parametrize(
    ("mechanism", "broken"),
    [
        ("if a.actor ~= b.actor then return before(b.actor, a.actor) end", ""),
        ("or not ours and covers(dot_of(theirs)) then", "then"),
        ("if not covers(dot) then removed[dot] = true end", ""),
        ("if through <= cursor then return", "if through < 0 then return"),
        ("observe(operation[3])", ""),
        ("live, removed = live - old_live, removed - old_removed", ""),
        ("live = -tonumber(", "live = 0 * tonumber("),
        ("if needed then", "if false then"),
    ],
)
async def test_control_a_broken_mechanism_is_noticed(tmp_path: Path, mechanism: str, broken: str) -> None:
    library = tellable_library()
    assert mechanism in library.code
    broken_library = replace(library, code=library.code.replace(mechanism, broken))
    for seed in range(5):
        try:
            await _run(tmp_path / str(seed), seed, 1500, broken_library)
        except (AssertionError, StateError):
            return
    pytest.fail("no seed noticed it")


async def _run(folder: Path, seed: int, steps: int, library: Library | None = None) -> Twins:
    random = Random(seed)
    print(f"seed {seed}")
    async with AsyncExitStack() as stack:
        twins = {}
        for region in REGIONS:
            server = await stack.enter_async_context(state_server(folder / region))
            client = server.client(OPENING)
            store = ToldStore(client, server.client(OPENING), region, library or tellable_library())
            await stack.enter_async_context(store)
            await store.calls.command("CONFIG", "SET", "appendfsync", "no")
            await store.load()
            clock = ManualClock()
            twins[region] = Twin(region, clock, ModelStore(clock), store)
        world = Twins(twins, random)
        stack.push_async_callback(world.drop)
        for twin in twins.values():
            world.open(twin, 0)
        for step in range(steps):
            await world.step()
            if step % 50 == 0:
                await world.settle()
        await world.compare()
    return world
