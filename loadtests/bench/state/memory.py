"""What a key occupies in a store, beside what a bare string or hash does."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atoll.state.kind import Kind
from atoll.state.store import REGISTER_FIELD, CellChange
from atoll.state.valkey_calls import Argument
from loadtests.bench.state.figures import Memory
from loadtests.bench.state.operations import PAYLOAD
from loadtests.bench.state.single import NAMESPACE, PASSWORD, Single, single
from loadtests.bench.state.wire import Wire, packed, write_commands
from loadtests.bench.workbench import Workbench

DEPTH = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """Keys of one make, each with so many values."""

    what: str
    kind: Kind
    values: int
    share: int = 1
    """One in so many of the keys, to keep the number of values."""


KEPT = (
    Kept("register by string", Kind.REGISTER, 1),
    Kept("map of 1 field by hash", Kind.MAP, 1),
    Kept("map of 10 fields by hash", Kind.MAP, 10, 10),
)


async def measure(bench: Workbench, keys: int, progress: Callable[[str], None]) -> list[Memory]:
    """Differences of ``used_memory``, on a store of its own."""
    async with single(bench) as alone:
        found = []
        for number, kept in enumerate(KEPT):
            progress(kept.what)
            found.append(await _measure(alone, kept, keys // kept.share, f"{number}"))
        return found


async def _measure(alone: Single, kept: Kept, keys: int, mark: str) -> Memory:
    names = [f"{mark}-key-{number:06}" for number in range(keys)]
    fields = [REGISTER_FIELD] if kept.kind is Kind.REGISTER else [f"field-{n}" for n in range(kept.values)]
    writes = [(name, [CellChange(field, PAYLOAD) for field in fields]) for name in names]
    await alone.cut_log()
    before = await _used(alone)
    await _send(alone, await write_commands(NAMESPACE, kept.kind, writes), lines=2)
    with_log = await _used(alone)
    await alone.cut_log()
    after = await _used(alone)
    await _send(alone, [_bare(kept, name, fields) for name in names], lines=1)
    bare = await _used(alone)
    return Memory(
        what=kept.what,
        keys=keys,
        ours_bytes=(after - before) / keys,
        bare_bytes=(bare - after) / keys,
        log_bytes=(with_log - after) / keys,
    )


def _bare(kept: Kept, name: str, fields: Sequence[str]) -> tuple[Argument, ...]:
    if kept.kind is Kind.REGISTER:
        return ("SET", f"{NAMESPACE}:{name}", PAYLOAD)
    pairs = (part for field in fields for part in (field, PAYLOAD))
    return ("HSET", f"{NAMESPACE}:{name}", *pairs)


async def _send(alone: Single, commands: Sequence[Sequence[Argument]], lines: int) -> None:
    ready = [packed([command]) for command in commands]
    with Wire(alone.port, PASSWORD, 1) as wire:
        await asyncio.to_thread(wire.run, ready, lines, DEPTH)


async def _used(alone: Single) -> int:
    text = await alone.store.calls.command("INFO", "memory")
    lines = dict(line.partition(":")[::2] for line in text.decode().splitlines())
    return int(lines["used_memory"])
