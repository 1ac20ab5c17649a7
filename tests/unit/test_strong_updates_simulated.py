"""Updates that share changes, under seeded faults: every history is linearizable, and none is once they are combined
wrongly.

Processes and registers are those of the SDK; virtual are time and the network. A value lists the updates that made it,
so each that is lost, made twice or seen too early shows.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf
from random import Random
from typing import TypeAlias

import pytest
from tests.unit.shop_state import Registers, shop_state

from atoll import state
from atoll.resilience.deadline import Deadline
from atoll.simulate.loop import VirtualLoop, run
from atoll.simulate.strong import linearizable
from atoll.simulate.strong.linearizable import Call, Undecided, Verdict, check
from atoll.state.sdk import combining
from atoll.state.sdk.scope import entered

SEEDS = range(500)
CONTROL_SEEDS = range(200)
KEY = "apple"
FULL = 6
PROCESSES, CLIENTS, OPERATIONS = 3, 3, 4

Names: TypeAlias = list[str]
names = state.strong("stock", Names)


@dataclass(frozen=True, slots=True)
class Added:
    """An update that adds its name; `after` is what it was told, None: nothing."""

    name: str
    after: tuple[int, tuple[str, ...]] | None


@dataclass(frozen=True, slots=True)
class Emptied:
    """A compare-and-set; `version` is what it was told, None: nothing."""

    expected: int
    version: int | None


@dataclass(frozen=True, slots=True)
class Full:
    """An update that its function refused, since there were so many names."""


@dataclass(frozen=True, slots=True)
class Saw:
    """A read, or why a compare-and-set was refused."""

    found: tuple[int, tuple[str, ...]] | None
    but: int | None = None


Operation: TypeAlias = Added | Emptied | Full | Saw
State: TypeAlias = tuple[int, tuple[str, ...]]

NOTHING: State = (0, ())


class TooMany(Exception):
    pass


def step(now: State, operation: Operation) -> State | None:
    version, listed = now
    match operation:
        case Added(name, after):
            then = (version + 1, (*listed, name))
            return then if len(listed) < FULL and after in (None, then) else None
        case Emptied(expected, told):
            return (version + 1, ()) if expected == version and told in (None, version + 1) else None
        case Full():
            return now if len(listed) >= FULL else None
        case Saw(found, but):
            there = None if version == 0 else now
            return now if found == there and but != version else None


def rank(operation: Operation) -> tuple[int, int] | None:
    match operation:
        case Added(_, (version, _)) | Emptied(_, int() as version):
            return version, 0
        case Saw((version, _)):
            return version, 1
    return None


def simulate(seed: int) -> Verdict[Operation]:
    loop, chance = VirtualLoop(), Random(f"updates {seed}")
    calls: list[Call[Operation]] = []
    run(loop, _world(loop, chance, calls))
    return check(settled(calls), NOTHING, step, rank)


def settled(calls: Iterable[Call[Operation]]) -> list[Call[Operation]]:
    """Of unknown outcome, an update whose name was seen has made the version that has it last, and one whose name was
    never seen did not take effect: the last read comes after all.
    """
    seen: dict[str, Call[Operation]] = {}
    calls = sorted(calls, key=lambda call: inf if call.returned is None else call.returned)
    for call in calls:
        match call.operation:
            case Added(_, (version, listed)) | Saw((version, listed)):
                for place, name in enumerate(listed, 1):
                    after = version - len(listed) + place, listed[:place]
                    seen.setdefault(name, replace(call, operation=Added(name, after)))
    known = []
    for call in calls:
        match call.operation:
            case Added(name, None):
                if name in seen:
                    known.append(replace(seen[name], called=call.called))
            case _:
                known.append(call)
    return known


async def _world(loop: VirtualLoop, chance: Random, calls: list[Call[Operation]]) -> None:
    registers = Registers(chance, loss=chance.choice((0.0, 0.1, 0.3)))
    processes = [shop_state(loop.clock, registers, chance) for _ in range(PROCESSES)]

    async def client(number: int) -> None:
        known: state.Found[Names] | None = None
        for turn in range(OPERATIONS):
            await asyncio.sleep(chance.choice((0.0, 0.0, chance.uniform(0.0, 0.5))))
            within_s = chance.choice((0.1, 0.4, 20.0))
            access = chance.choice(processes)
            with entered(access.scope(deadline=Deadline(loop.clock, within_s))):
                known = await _one(f"{number}.{turn}", known)

    async def _one(name: str, known: state.Found[Names] | None) -> state.Found[Names] | None:
        began = loop.time()

        def note(operation: Operation, *, returned: bool = True) -> None:
            calls.append(Call(operation, began, loop.time() if returned else None))

        kind = chance.random()
        at = 0 if known is None else known.version
        unsure: Operation = Added(name, None)
        try:
            if kind < 0.2:
                known = await names.get(KEY)
                note(Saw(_state(known)))
            elif kind < 0.45 and known is not None:
                unsure = Emptied(at, None)
                version = await names.compare_and_set(KEY, at, [])
                note(Emptied(at, version))
                known = state.Found([], version)
            else:
                named = name if chance.random() < 0.2 else None
                known = await _added(name, named, chance)
                note(Added(name, _state(known)))
        except TooMany:
            note(Full())
        except state.Changed as changed:
            note(Saw(_state(changed.current), but=at))
        except state.Unavailable:
            pass
        except (state.Unknown, asyncio.CancelledError):
            note(unsure, returned=False)
        return known

    await asyncio.gather(*(client(number) for number in range(CLIENTS * PROCESSES)))
    registers.loss = 0.0
    await asyncio.sleep(10)  # whatever is late has come
    with entered(processes[0].scope()):
        began = loop.time()
        calls.append(Call(Saw(_state(await names.get(KEY))), began, loop.time()))


async def _added(name: str, operation: str | None, chance: Random) -> state.Found[Names]:
    def add(listed: Names | None) -> Names:
        if len(listed or ()) >= FULL:
            raise TooMany
        return [*(listed or ()), name]

    updating = asyncio.ensure_future(names.update(KEY, add, operation=operation))
    if chance.random() < 0.15:
        asyncio.get_running_loop().call_later(chance.uniform(0.0, 0.3), updating.cancel)
    return await updating


def _state(found: state.Found[Names] | None) -> State | None:
    return None if found is None else (found.version, tuple(found.value))


def test_every_history_is_linearizable() -> None:
    for seed in SEEDS:
        verdict = simulate(seed)
        assert verdict.linearizable, f"seed {seed}: {verdict.stuck}"


combine = combining._combine


def side_by_side(value: bytes | None, updates: Iterable[combining._Update]) -> combining._Combined:
    """Each is applied to what was there before all of them."""
    made = [combine(value, [update]) for update in updates]
    changes = list(accumulate(one.changes for one in made))
    parts = [replace(one.made[0], changes=number) for one, number in zip(made, changes, strict=True)]
    return combining._Combined(made[-1].value, parts, changes[-1])


def one_version(value: bytes | None, updates: Iterable[combining._Update]) -> combining._Combined:
    """All of a change are told the version that it made."""
    combined = combine(value, updates)
    return replace(combined, made=[replace(made, changes=combined.changes) for made in combined.made])


def not_sent(why: str, *, sent: bool) -> state.Unavailable:
    """Nobody is told that it may have been done."""
    return state.Unavailable(why)


def fresh(basis: combining._Basis, updates: Iterable[combining._Update]) -> bool:
    """What is at hand is good enough to refuse by."""
    return True


@pytest.mark.parametrize(
    ("target", "name", "broken"),
    [
        (combining, "_combine", side_by_side),
        (combining, "_combine", one_version),
        (combining, "_failure", not_sent),
        (combining._Basis, "is_news_to", fresh),
    ],
    ids=["side by side", "one version", "not sent", "not fresh"],
)
def test_combined_wrongly_it_is_found_out(
    target: object, name: str, broken: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, name, broken)
    monkeypatch.setattr(linearizable, "MOST_STEPS", 5_000)
    for seed in CONTROL_SEEDS:
        with suppress(Undecided):
            if not simulate(seed).linearizable:
                return
    pytest.fail(f"no seed of {CONTROL_SEEDS} shows {broken.__name__}")
