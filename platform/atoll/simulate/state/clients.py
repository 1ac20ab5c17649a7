"""Clients of one region: they write registers, maps, counters and sets, with expiry and deletion."""

import asyncio
from random import Random

from atoll.simulate.state.ledger import Written
from atoll.simulate.state.region import Region
from atoll.state.errors import StateError
from atoll.state.kind import Kind
from atoll.state.store import CellChange, Change, CounterChange, SetChange
from atoll.state.vector import Vector

REMOTE_S = 2.0
"""A client waits so long for a copy in another region; then the outcome is unknown to it."""


async def client(region: Region, chance: Random, until_s: float) -> None:
    """Writes until the run's clients end."""
    namespaces = sorted(region.scenario.holds[region.name])
    numbers = 0
    while True:
        await asyncio.sleep(chance.expovariate(region.scenario.writes_per_s))
        if region.now() > until_s or region.name in region.ledger.removed:
            return
        if region.name not in region.membership.members:
            continue
        numbers += 1
        namespace = chance.choice(namespaces)
        kind, key, change = _change(chance, f"{region.name}-{numbers}", int(region.clock.wall() * 1000))
        try:
            await _write(region, namespace, kind, key, change, _deps(region, chance))
        except (StateError, OSError):
            continue  # refused or unknown; the ledger knows what was executed


def _deps(region: Region, chance: Random) -> Vector:
    """What a session has read elsewhere in the region: some writes depend on one or two actors' operations."""
    known = sorted(region.model.vector().items())
    return Vector(chance.sample(known, min(len(known), chance.choice((0, 0, 0, 1, 2)))))


async def _write(region: Region, namespace: str, kind: Kind, key: str, change: Change, deps: Vector) -> None:
    remote = namespace in region.scenario.remote
    cursor = (await region.gate.read_acks("")).cursor if remote else ""
    written = await region.write(namespace, kind, key, change, deps)
    if remote:
        await _until_copied(region, written, cursor)


async def _until_copied(region: Region, written: Written, cursor: str) -> None:
    """What the SDK does for durability `remote`."""
    end = region.now() + REMOTE_S
    while region.now() < end:
        acks = await region.gate.read_acks(cursor, REMOTE_S)
        cursor = acks.cursor
        if any(ack.dot.actor == written.dot.actor and ack.dot.seq >= written.dot.seq for ack in acks.acks):
            written.remote = True
            return


def _change(chance: Random, value: str, now_ms: int) -> tuple[Kind, str, Change]:
    kind = chance.choice((Kind.REGISTER, Kind.MAP, Kind.MAP, Kind.COUNTER, Kind.SET, Kind.SET))
    key = f"{kind.name.lower()}-{chance.randrange(3)}"
    match kind:
        case Kind.COUNTER:
            return kind, key, CounterChange(chance.choice((1, 5, -2)))
        case Kind.SET:
            return kind, key, SetChange(f"e{chance.randrange(3)}", chance.random() < 0.6)
        case _:
            field = f"f{chance.randrange(3)}" if kind is Kind.MAP else ""
            if chance.random() < 0.35:
                return kind, key, CellChange(field, None)
            expiry_ms = now_ms + chance.choice((300, 1500, 4000)) if chance.random() < 0.25 else 0
            return kind, key, CellChange(field, value.encode(), expiry_ms)
