"""Writes and reads of one store beside the bare commands, in interleaved rounds.

The bare commands go through the same client and the same connections, or are bytes on sockets on both sides. All
writes, bare ones too, are on disk before they are answered.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from atoll import state
from atoll.state.kind import Kind
from atoll.state.sdk.scope import entered
from atoll.state.store import REGISTER_FIELD, CellChange
from atoll.state.valkey_calls import Argument
from atoll.state.values import codec_for
from loadtests.bench.rounds import interleaved
from loadtests.bench.state.figures import READ_RATIO, WRITE_RATIO, Comparison, Sample, compare, sample
from loadtests.bench.state.single import NAMESPACE, PASSWORD, Single, single
from loadtests.bench.state.wire import Wire, packed, write_commands
from loadtests.bench.workbench import Workbench

KEYS = 1000
VALUE = b"x" * 100
PAYLOAD = codec_for(bytes).encode(VALUE)
AT_ONCE = 48
DEPTH = 64
"""Commands of one pipeline."""

Round: TypeAlias = Callable[[], Awaitable[Sample]]
Operation: TypeAlias = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Pair:
    """An operation and what it is compared with."""

    operation: str
    against: str
    way: str
    ours: Round
    theirs: Round
    wanted: float | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run."""

    rounds: int
    one_by_one: int
    """Operations of a round, one after the other."""
    at_once: int
    """Operations of a round with `AT_ONCE` of them at any time."""
    wired: int
    """Commands of a round on bare sockets."""


FULL = Scale(rounds=21, one_by_one=250, at_once=1500, wired=4800)
QUICK = Scale(rounds=3, one_by_one=100, at_once=500, wired=1920)


async def measure(bench: Workbench, scale: Scale, progress: Callable[[str], None]) -> list[Comparison]:
    """All comparisons, on a store of its own."""
    async with single(bench) as alone:
        pairs = [*_client_pairs(alone, scale), *await _wire_pairs(alone, scale)]
        for pair in pairs:  # connections are opened, keys are made
            await pair.theirs()
            await pair.ours()
        samples: dict[int, list[tuple[Sample, Sample]]] = {number: [] for number in range(len(pairs))}
        for turn in range(scale.rounds):
            for number, pair in enumerate(pairs):
                progress(f"round {turn + 1} of {scale.rounds}, {pair.operation}, {pair.way}")
                both = {run: await run() for run in interleaved([pair.ours, pair.theirs], turn)}
                samples[number].append((both[pair.ours], both[pair.theirs]))
                await alone.cut_log()
    return [
        compare(pair.operation, pair.against, pair.way, samples[number], pair.wanted)
        for number, pair in enumerate(pairs)
    ]


def _client_pairs(alone: Single, scale: Scale) -> list[Pair]:
    """Through the client that replicas use."""
    store, bare = alone.store, alone.store.calls.command
    views = state.namespace(NAMESPACE)

    async def write(number: int) -> None:
        await store.write(
            NAMESPACE, Kind.REGISTER, f"key-{number % KEYS}", [CellChange(REGISTER_FIELD, PAYLOAD)]
        )

    async def read(number: int) -> None:
        await store.read_register(NAMESPACE, f"key-{number % KEYS}")

    async def write_field(number: int) -> None:
        await store.write(
            NAMESPACE, Kind.MAP, f"map-{number % KEYS}", [CellChange(f"field-{number % 7}", PAYLOAD)]
        )

    async def read_field(number: int) -> None:
        await store.read_field(NAMESPACE, f"map-{number % KEYS}", f"field-{number % 7}")

    async def bare_set(number: int) -> None:
        await bare("SET", f"bare:key-{number % KEYS}", PAYLOAD)

    async def bare_get(number: int) -> None:
        await bare("GET", f"bare:key-{number % KEYS}")

    async def bare_hset(number: int) -> None:
        await bare("HSET", f"bare:map-{number % KEYS}", f"field-{number % 7}", PAYLOAD)

    async def bare_hget(number: int) -> None:
        await bare("HGET", f"bare:map-{number % KEYS}", f"field-{number % 7}")

    async def sdk_write(number: int) -> None:
        await views.register(f"key-{number % KEYS}", bytes).set(VALUE)

    async def sdk_read(number: int) -> None:
        await views.register(f"key-{number % KEYS}", bytes).get()

    def rounds(operation: Operation, at_once: int) -> Round:
        async def run() -> Sample:
            with entered(alone.access.scope()):
                return await asked(operation, scale.one_by_one if at_once == 1 else scale.at_once, at_once)

        return run

    subjects: tuple[tuple[str, Operation, str, Operation, float | None, float | None], ...] = (
        ("write of a register", write, "SET", bare_set, None, WRITE_RATIO),
        ("write of a map's field", write_field, "HSET", bare_hset, None, WRITE_RATIO),
        ("read of a register", read, "GET", bare_get, READ_RATIO, READ_RATIO),
        ("read of a map's field", read_field, "HGET", bare_hget, READ_RATIO, READ_RATIO),
        ("SDK: register.set", sdk_write, "store.write", write, None, None),
        ("SDK: register.get", sdk_read, "store.read_register", read, None, None),
    )
    return [
        Pair(operation, against, way, rounds(ours, at_once), rounds(theirs, at_once), wanted)
        for operation, ours, against, theirs, alone_wanted, many_wanted in subjects
        for way, at_once, wanted in (
            ("one by one", 1, alone_wanted),
            (f"{AT_ONCE} at once", AT_ONCE, many_wanted),
        )
    ]


async def _wire_pairs(alone: Single, scale: Scale) -> list[Pair]:
    """As bytes on sockets: what the store takes, without a client's share."""
    keys = [number % KEYS for number in range(scale.wired)]
    writes = await write_commands(
        NAMESPACE, Kind.REGISTER, [(f"key-{key}", [CellChange(REGISTER_FIELD, PAYLOAD)]) for key in keys]
    )
    sets: list[tuple[Argument, ...]] = [("SET", f"bare:key-{key}", PAYLOAD) for key in keys]

    def rounds(commands: Sequence[Sequence[Argument]], lines: int, connections: int, depth: int) -> Round:
        ready = [packed([command]) for command in commands]

        async def run() -> Sample:
            with Wire(alone.port, PASSWORD, connections) as wire:
                return await asyncio.to_thread(wire.run, ready, lines, depth)

        return run

    return [
        Pair(
            "write of a register, its bytes",
            "SET",
            way,
            rounds(writes, 2, connections, depth),
            rounds(sets, 1, connections, depth),
            WRITE_RATIO,
        )
        for way, connections, depth in (
            (f"{AT_ONCE} connections", AT_ONCE, 1),
            (f"pipelined by {DEPTH}", 1, DEPTH),
        )
    ]


async def asked(operation: Operation, count: int, at_once: int) -> Sample:
    """`count` operations, with `at_once` of them under way at any time."""
    latencies: list[float] = []
    numbers = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            sent = time.perf_counter()
            await operation(number)
            latencies.append(time.perf_counter() - sent)

    begun = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    return sample(count, time.perf_counter() - begun, latencies)
