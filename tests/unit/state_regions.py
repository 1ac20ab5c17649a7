"""Regions of model stores under seeded faults, and what their state has to be in the end."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from atoll.clock import ManualClock
from atoll.state import raw
from atoll.state.compare import newer
from atoll.state.digest import NO_DIGEST
from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.model import ModelStore, Snapshot
from atoll.state.operation import CellWrite, Totals, Write, decode
from atoll.state.store import (
    ApplyOutcome,
    Batch,
    CellChange,
    CellKey,
    Change,
    CounterChange,
    LogEntry,
    SetChange,
)
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import NOTHING, Dot, Vector, epoch_of

NAMESPACES = ("carts", "prices")
HISTORY = 30


@dataclass
class SkewedClock:
    """True time and an error of its own, in seconds."""

    true: ManualClock
    error_s: float = 0.0

    def monotonic(self) -> float:
        return self.true.monotonic()

    def wall(self) -> float:
        return self.true.wall() + self.error_s


@dataclass
class Region:
    name: str
    clock: SkewedClock
    store: ModelStore
    transfer: "Iterator[None] | None" = None
    source: "Region | None" = None
    """Whom it transfers from."""
    complete: bool = True
    disks: list[Snapshot] = field(default_factory=list)


@dataclass(frozen=True)
class Rules:
    """What keeps it right; a control leaves one out."""

    collect_when_stable: bool = True
    hold_collection_in_transfers: bool = True
    hold_streams_in_transfers: bool = True
    look_at_removals: bool = True
    settle: bool = True
    faults: bool = True
    """Lost tails, wiped disks and old disks too."""


class Regions:
    """Everything that can happen, one step at a time; `ops` and `amounts` are what was ever logged."""

    def __init__(
        self,
        seed: int,
        *,
        count: int = 3,
        rules: Rules = Rules(),
        make: Callable[[SkewedClock], ModelStore] = lambda clock: ModelStore(clock, history=HISTORY),
    ) -> None:
        self.chance = random.Random(seed)
        self.rules = rules
        self.time = ManualClock()
        self.ops: dict[Dot, LogEntry] = {}
        self.amounts: dict[Dot, int] = {}
        self.payloads = 0
        self.regions = []
        for name in "abcde"[:count]:
            clock = SkewedClock(self.time)
            region = Region(name, clock, make(clock))
            self.regions.append(region)
            self.open(region)
            region.store.complete()

    # --- What can happen

    def run(self, steps: int) -> None:
        actions: list[tuple[Callable[[Region], object], int]] = [
            (self.write, 30),
            (self.deliver, 30),
            (self.heartbeat, 10),
            (self.collect, 8),
            (self.expire, 5),
            (self.pass_time, 6),
            (self.jump, 3),
            (self.begin_transfer, 2),
            (self.go_on, 20),
            (self.trim, 2),
            (self.restart, 2),
        ]
        if self.rules.faults:
            actions += [(self.lose_tail, 2), (self.wipe, 1), (self.keep_disk, 2), (self.restore_disk, 1)]
        for action in self.chance.choices([a for a, _ in actions], [w for _, w in actions], k=steps):
            action(self.chance.choice(self.regions))
            self.harvest()

    def write(self, region: Region) -> None:
        if not region.complete:
            return
        chance = self.chance
        kind = chance.choice(tuple(Kind))
        changes: tuple[Change, ...]
        amount = 0
        match kind:
            case Kind.REGISTER:
                changes = (self.cell(region, ""),)
            case Kind.MAP:
                changes = tuple(
                    self.cell(region, name) for name in chance.sample("xyz", chance.randint(1, 2))
                )
            case Kind.COUNTER:
                amount = chance.randint(-5, 5)
                changes = (CounterChange(amount),)
            case Kind.SET:
                elements = chance.sample("pqr", chance.randint(1, 2))
                changes = tuple(SetChange(one, chance.random() < 0.5) for one in elements)
        deps = region.store.vector() if chance.random() < 0.1 else NOTHING
        namespace, key = chance.choice(NAMESPACES), chance.choice(("k1", "k2"))
        result = region.store.write(namespace, kind, key, changes, deps)
        for change in changes:
            if isinstance(change, CellChange):
                cell = region.store._envelope(namespace, CellKey(kind, key, change.field))
                assert cell is not None and cell.dot == result.dot, (
                    "a write lost against what its region knew"
                )
        if kind is Kind.COUNTER:
            self.amounts[result.dot] = amount

    def cell(self, region: Region, name: str) -> CellChange:
        self.payloads += 1
        if self.chance.random() < 0.35:
            return CellChange(name, None)
        expiry_ms = 0
        if self.chance.random() < 0.3:
            expiry_ms = int(region.clock.wall() * 1000) + self.chance.randint(1, 3000)
        return CellChange(name, b"%d" % self.payloads, expiry_ms)

    def deliver(self, target: Region) -> bool:
        """A stretch of some region's log goes to `target`; perhaps with what it has already."""
        source = self.chance.choice([one for one in self.regions if one is not target])
        return self.stream(source, target, self.chance.randint(1, 12), again=self.chance.random() < 0.2)

    def stream(self, source: Region, target: Region, count: int, *, again: bool = False) -> bool:
        """Answers whether `target` knows more now."""
        if target.transfer is not None and self.rules.hold_streams_in_transfers:
            return False
        if not target.complete:
            return False
        before = target.store.vector()
        after = before.latest(source.name)
        if again and after is not None:
            after = Dot(after.actor, max(1, after.seq - 3))
        read = source.store.read_log(after, count)
        if read.gap:
            self.start(target, source)
            return False
        entries = list(read.entries)
        while entries:
            actor = entries[0].dot.actor
            batch = [one for one in entries if one.dot.actor == actor]
            entries = entries[len(batch) :]
            pairs = tuple((one.dot.seq, one.operation) for one in batch)
            result = target.store.apply(Batch(actor, pairs[0][0] - 1, pairs[-1][0], pairs))
            if result.outcome not in {ApplyOutcome.OK, ApplyOutcome.STALE}:
                break
        return target.store.vector() != before

    def heartbeat(self, region: Region) -> None:
        region.store.heartbeat()

    def collect(self, region: Region) -> None:
        busy = region.transfer is not None or any(one.source is region for one in self.regions)
        if busy and self.rules.hold_collection_in_transfers:
            return
        stable = region.store.vector()
        if self.rules.collect_when_stable:
            peers = region.store.peers()
            for other in self.regions:
                if other is not region:
                    known = peers[other.name].vector if other.name in peers else NOTHING
                    stable = stable.meet(known)
        region.store.collect(stable, 100)

    def expire(self, region: Region) -> None:
        if region.complete:
            region.store.expire(100)

    def pass_time(self, region: Region) -> None:
        self.time.advance(self.chance.random() * 2)

    def jump(self, region: Region) -> None:
        region.clock.error_s = self.chance.uniform(-3, 3)

    def trim(self, region: Region) -> None:
        entries = region.store.read_log(None, 1000).entries or region.store._state.log.entries
        if entries:
            region.store.trim(self.chance.choice(entries).dot)

    # --- Transfers

    def begin_transfer(self, target: Region) -> None:
        self.start(target, self.chance.choice([one for one in self.regions if one is not target]))

    def start(self, target: Region, source: Region) -> None:
        if target.transfer is None and source.complete:
            target.source = source
            target.transfer = self.transferring(target.store, source.store)

    def go_on(self, region: Region) -> None:
        """Goes on with whatever transfers to this region."""
        if region.transfer is None:
            return
        if next(region.transfer, "done") == "done":
            region.transfer = region.source = None
            region.store.complete()
            region.complete = True

    def transferring(self, ours: ModelStore, theirs: ModelStore) -> Iterator[None]:
        vector = theirs.vector()
        stamp = theirs.clock()
        yield
        for namespace in sorted({*ours.namespaces(), *theirs.namespaces()}):
            mine, other = ours.digests(namespace), theirs.digests(namespace)
            for bucket in sorted({*mine, *other}):
                here, there = mine.get(bucket, NO_DIGEST), other.get(bucket, NO_DIGEST)
                if here == there or (not self.rules.look_at_removals and here.live == there.live):
                    continue
                yield
                listing = theirs.listing(namespace, bucket)
                wanted = newer(ours.listing(namespace, bucket), listing)
                yield
                cells = theirs.cells(namespace, wanted)
                yield
                while ours.merge(namespace, cells).delay_ms:
                    yield
                if self.rules.settle:
                    ours.settle(namespace, bucket, listing)
        while ours.raise_to(vector, stamp):
            yield

    # --- Faults

    def open(self, region: Region) -> None:
        # All epochs that ever were, known or not: that a lost one comes again at that very second, because the clock
        # went back too, is not modelled.
        floor = max((epoch_of(dot.actor) for dot in self.ops if dot.actor[0] == region.name), default=0)
        region.store.open(region.name, "test", floor=floor)

    def restart(self, region: Region) -> None:
        region.store.crash()
        self.reopened(region)

    def reopened(self, region: Region) -> None:
        """Comes up again, after a second and a half at least; its transfers are off, in and out."""
        self.time.advance(1.5 + self.chance.random())
        region.clock.error_s = max(region.clock.error_s, 0.0)
        self.open(region)
        for one in self.regions:
            if one is region or one.source is region:
                one.transfer = one.source = None

    def lose_tail(self, region: Region) -> None:
        kept = sum(len(calls) for _, calls in region.store._history._bases)
        region.store.lose_tail(self.chance.randint(0, min(kept, HISTORY)))
        if not region.store.statistics().region:
            region.store.wipe()  # it has lost all there was
            region.complete = not any(one.complete for one in self.regions if one is not region)
        self.reopened(region)

    def wipe(self, region: Region) -> None:
        if all(one.complete for one in self.regions):
            region.store.wipe()
            region.complete = False
            self.reopened(region)

    def keep_disk(self, region: Region) -> None:
        if region.complete:
            region.disks.append(region.store.snapshot())

    def restore_disk(self, region: Region) -> None:
        if region.disks and all(one.complete for one in self.regions):
            region.store.restore(self.chance.choice(region.disks))
            self.reopened(region)

    # --- The end

    def heal(self) -> None:
        """Clocks are right again, everything is delivered, and what nobody streams is transferred."""
        for region in self.regions:
            region.clock.error_s = 0.0
        self.time.advance(30)
        for _ in range(60):
            self.finish_transfers()
            while sum(self.stream(s, t, 1000) for s in self.regions for t in self.regions if s is not t):
                self.harvest()
            self.finish_transfers()
            vectors = [region.store.vector() for region in self.regions]
            if all(region.complete for region in self.regions) and len(set(vectors)) == 1:
                return
            for target in self.regions:
                for source in self.regions:
                    if source.store.vector().missing(target.store.vector()) != source.store.vector() and (
                        target.store.vector().missing(source.store.vector())
                    ):
                        self.start(target, source)
                if not target.complete:
                    self.start(target, self.chance.choice([o for o in self.regions if o.complete]))
        raise AssertionError(f"no end: {[region.store.vector() for region in self.regions]}")

    def finish_transfers(self) -> None:
        for region in self.regions:
            while region.transfer is not None:
                self.go_on(region)

    def harvest(self) -> None:
        """Notes what was logged."""
        for region in self.regions:
            for entry in reversed(region.store._state.log.entries):
                if entry.dot in self.ops:
                    break
                self.ops[entry.dot] = entry

    def compare(self) -> None:
        """Anti-entropy: regions whose digests differ although they know the same transfer from each other."""
        for target in self.regions:
            for source in self.regions:
                if any(live_digests(target.store, n) != live_digests(source.store, n) for n in NAMESPACES):
                    self.start(target, source)
                    self.finish_transfers()

    def differences(self, *, all_over: bool = True) -> list[str]:
        """What is not as the operations that survived demand it; empty if all is well.

        Without `all_over`, places are left out of which an operation was lost.
        """
        found = []
        vector = self.regions[0].store.vector()
        lost = {place for dot, entry in self.ops.items() if not vector.covers(dot) for place in places(entry)}
        if lost and not self.rules.faults:
            found.append(f"operations on {lost} were lost")
        expected = self.expected(vector)
        first = live_cells(self.regions[0].store)
        for region in self.regions:
            if region.store.vector() != vector:
                found.append(f"{region.name} knows {region.store.vector()}, not {vector}")
            actual = live_cells(region.store)
            for at in sorted({*expected, *actual}, key=str):
                # A lost operation may have left its effect somewhere, through a transfer that was broken off.
                # Anti-entropy then makes it the same everywhere.
                doubtful = (at[0], at[1].kind, at[1].key) in lost
                if doubtful and not all_over:
                    continue
                demanded = first.get(at) if doubtful else expected.get(at)
                if demanded != actual.get(at):
                    found.append(f"{region.name} {at}: {actual.get(at)} instead of {demanded}")
            found += [
                f"{region.name} {namespace}: its digests differ"
                for namespace in NAMESPACES
                if all_over
                and live_digests(region.store, namespace) != live_digests(self.regions[0].store, namespace)
            ]
        totals: dict[tuple[str, str], int] = {}
        for dot, amount in self.amounts.items():
            operation = decode(self.ops[dot].operation)
            assert isinstance(operation, Write)
            if vector.covers(dot):
                named = (operation.namespace, operation.key)
                totals[named] = totals.get(named, 0) + amount
        for (namespace, key), total in totals.items():
            if (namespace, Kind.COUNTER, key) in lost:
                continue
            for region in self.regions:
                tallies = region.store.read_counter(namespace, key).values()
                if (counted := sum(t.plus - t.minus for t in tallies)) != total:
                    found.append(f"{region.name} counts {counted} in {key} instead of {total}")
        return found

    def expected(self, vector: Vector) -> dict[tuple[str, CellKey], object]:
        """Plainly by the meaning of the types, from all operations that are known in the end."""
        cells: dict[tuple[str, CellKey], Envelope] = {}
        tallies: dict[tuple[str, CellKey], Tally] = {}
        added: dict[tuple[str, CellKey], set[Dot]] = {}
        removed: set[tuple[str, CellKey, Dot]] = set()
        for dot, entry in self.ops.items():
            operation = decode(entry.operation)
            if not vector.covers(dot) or not isinstance(operation, Write):
                continue
            namespace, kind, key = operation.namespace, operation.kind, operation.key
            if isinstance(operation.changes, Totals):
                place = (namespace, CellKey(kind, key, dot.actor))
                known = tallies.get(place, Tally())
                if dot.seq > known.seq:
                    tallies[place] = Tally(operation.changes.plus, operation.changes.minus, dot.seq)
                continue
            for change in operation.changes:
                if isinstance(change, CellWrite):
                    place = (namespace, CellKey(kind, key, change.field))
                    stamp = change.stamp or operation.stamp
                    written = Envelope(stamp, dot.actor, dot.seq, change.payload, change.expiry_ms)
                    if place not in cells or written.order > cells[place].order:
                        cells[place] = written
                else:
                    place = (namespace, CellKey(kind, key, change.element))
                    if change.added:
                        added.setdefault(place, set()).add(dot)
                    removed |= {(*place, gone) for gone in change.removed}
        elements = {
            place: frozenset(dot for dot in dots if (*place, dot) not in removed)
            for place, dots in added.items()
        }
        return {
            **{place: cell for place, cell in cells.items() if not cell.removed},
            **tallies,
            **{place: dots for place, dots in elements.items() if dots},
        }


def places(entry: LogEntry) -> Iterator[tuple[str, Kind, str]]:
    operation = decode(entry.operation)
    if isinstance(operation, Write):
        yield operation.namespace, operation.kind, operation.key


def live_digests(store: ModelStore, namespace: str) -> dict[int, int]:
    return {bucket: digest.live for bucket, digest in store.digests(namespace).items() if digest.live}


def live_cells(store: ModelStore) -> dict[tuple[str, CellKey], object]:
    """All that is there: no tombstones, no removed dots."""
    found: dict[tuple[str, CellKey], object] = {}
    for namespace in store.namespaces():
        for bucket in store.digests(namespace):
            keys = [cell.at for cell in store.listing(namespace, bucket).cells]
            for cell in store.cells(namespace, keys):
                value = raw.decode(cell.at.kind, cell.data)
                if isinstance(value, Dots):
                    if value.live:
                        found[namespace, cell.at] = value.live
                elif not (isinstance(value, Envelope) and value.removed):
                    found[namespace, cell.at] = value
    return found


def failing_seed(
    seeds: range,
    steps: int,
    rules: Rules = Rules(),
    make: Callable[[SkewedClock], ModelStore] | None = None,
) -> tuple[int, list[str]] | None:
    """The first seed that ends wrongly, and what is wrong then."""
    for seed in seeds:
        regions = Regions(seed, rules=rules) if make is None else Regions(seed, rules=rules, make=make)
        try:
            regions.run(steps)
            regions.heal()
            differences = regions.differences(all_over=not rules.faults)
            if rules.faults and not differences:
                regions.compare()
                differences = regions.differences()
        except AssertionError as error:
            differences = [str(error)]
        if differences:
            return seed, differences
    return None
