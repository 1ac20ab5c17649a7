"""What must hold in every run, whatever the faults."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from atoll.simulate.loop import EPOCH
from atoll.simulate.state.ledger import Ledger, Place, Written, origin
from atoll.simulate.state.region import Region
from atoll.state import raw
from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.model import ModelStore
from atoll.state.stamp import millis
from atoll.state.store import CellChange, SetChange
from atoll.state.vector import Dot, Vector, region_of

STORE_GRACE_S = 0.5
"""An agent has noticed after this that its store went down and came back."""

CLOCK_GRACE_S = 4.0
"""Staleness is published rightly again so long after a clock has jumped: clocks are compared once a second."""


class Invariant(StrEnum):
    """What must hold."""

    SURVIVES = "no acknowledged write is lost"
    EQUAL = "replicas are equal soon after healing"
    KNOWN = "a replica holds what its vector covers, and nothing deleted comes back"
    COUNTERS = "counters are the sums of their increments"
    RESIDENCY = "nothing leaves its residency"
    STALENESS = "staleness is never above what is published"
    ORDER = "a write is later than all that its writer knew"
    CAUSAL = "an operation is known nowhere before what it depends on"
    DOTS = "a dot stands for one write"
    RUNS = "nothing raises what nobody expects"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that did not hold."""

    invariant: Invariant
    at_s: float
    detail: str

    def __str__(self) -> str:
        return f"{self.at_s:.3f} s: {self.invariant}: {self.detail}"


def known(region: Region, ledger: Ledger, latest_ms: float) -> Iterator[Violation]:
    """Whether the store holds what its vector covers. `latest_ms` is the latest of all clocks."""
    vector = region.model.vector()
    holds = region.scenario.holds[region.name]
    # Where regions hold different things, a transfer may know an operation before what it depends on, until what it
    # left owed is brought as well.
    alike = len(set(region.scenario.holds.values())) == 1 and not ledger.removed
    for one in ledger.all() if alike else ():
        if one.deps and one.place[0] in holds and vector.covers(one.dot) and not one.deps <= vector:
            yield Violation(
                Invariant.CAUSAL,
                region.now(),
                f"{region.name} knows {one.dot}, which depends on {one.deps}, and not all of that",
            )
    for place, every in ledger.by_place.items():
        if place[0] not in holds:
            continue
        # What was lost with a disk, and may be nowhere, is covered all the same once nobody can bring it.
        lost = {
            one.dot
            for one in every
            if (one.lost_here or one.region in ledger.removed) and not ledger.must_survive(one)
        }
        detail = ""
        match place[1]:
            case Kind.REGISTER | Kind.MAP:
                detail = _cell(region.model, place, every, lost, vector, latest_ms, ledger.fenced)
            case Kind.SET:
                detail = _element(region.model, place, every, lost, vector)
            case Kind.COUNTER:
                detail = _counter(region.model, place, ledger, lost, vector)
        if detail:
            invariant = Invariant.COUNTERS if place[1] is Kind.COUNTER else Invariant.KNOWN
            yield Violation(invariant, region.now(), f"{region.name} {_told(place)}: {detail}")


def _cell(
    model: ModelStore,
    place: Place,
    written: Sequence[Written],
    lost: set[Dot],
    vector: Vector,
    latest_ms: float,
    fenced: set[str],
) -> str:
    namespace, kind, key, field = place
    here = (
        model.read_register(namespace, key)
        if kind is Kind.REGISTER
        else model.read_field(namespace, key, field)
    )
    covered = [one for one in written if vector.covers(one.dot) and one.dot not in lost]
    best = max(covered, key=lambda one: one.order, default=None)
    if best is not None:
        if here is None or here.removed:
            if (here is None or here.order < best.order) and not any(
                one.order >= best.order and one.gone(latest_ms) for one in written
            ):
                return f"{best.dot} is covered, and nothing is there"
        elif here.order < best.order and region_of(here.actor) not in fenced:
            return f"{best.dot} is covered, and there is the earlier {here.dot}"
    if here is not None and here.payload is not None:
        source = next((one for one in written if one.dot == here.dot), None)
        if source is None or not isinstance(source.change, CellChange):
            return f"{here.dot} was never written"
        if source.change.payload != here.payload:
            return f"{here.dot} has another value than was written"
    return ""


def _element(
    model: ModelStore, place: Place, written: Sequence[Written], lost: set[Dot], vector: Vector
) -> str:
    namespace, _, key, element = place
    live = model.read_element(namespace, key, element).live
    added = {one.dot for one in written if isinstance(one.change, SetChange) and one.change.present}
    gone: set[Dot] = set()
    gone_for_sure: set[Dot] = set()
    for one in written:
        gone |= one.observed
        if vector.covers(one.dot) and one.dot not in lost:
            gone_for_sure |= one.observed
    if back := live & gone_for_sure:
        return f"{min(back)} was removed, and is there"
    if unknown := live - added:
        return f"{min(unknown)} was never added"
    missing = {dot for dot in added - gone - live - lost if vector.covers(dot)}
    if missing:
        return f"{min(missing)} is covered, and not there"
    return ""


def _counter(model: ModelStore, place: Place, ledger: Ledger, lost: set[Dot], vector: Vector) -> str:
    namespace, _, key, _ = place
    tallies = model.read_counter(namespace, key)
    for actor, amounts in ledger.amounts(namespace, key).items():
        tally = tallies.get(actor)
        reached = tally.seq if tally is not None else 0
        value = tally.plus - tally.minus if tally is not None else 0
        if any(reached < seq <= vector.seq(actor) and Dot(actor, seq) not in lost for seq, _ in amounts):
            return f"{actor} counts up to {reached}, and {vector.seq(actor)} is covered"
        expected = sum(amount for seq, amount in amounts if seq <= reached)
        if value != expected:
            return f"{actor} has {value} at {reached}, and {expected} was added"
    return ""


def survives(regions: Sequence[Region], ledger: Ledger, latest_ms: float) -> Iterator[Violation]:
    """At the end: what was acknowledged is in every replica, or something later is."""
    for written in ledger.all():
        if not ledger.must_survive(written):
            continue
        for region in regions:
            if written.place[0] in region.scenario.holds[region.name] and not _survived(
                region.model, written, ledger, latest_ms
            ):
                promise = "remote" if written.remote else "region"
                yield Violation(
                    Invariant.SURVIVES,
                    region.now(),
                    f"{written.dot} ({_told(written.place)}), acknowledged ({promise}) at "
                    f"{written.acknowledged_s:.3f} s, is not in {region.name}",
                )


def _survived(model: ModelStore, written: Written, ledger: Ledger, latest_ms: float) -> bool:
    namespace, kind, key, field = written.place
    others = ledger.by_place[written.place]
    match kind:
        case Kind.COUNTER:
            tally = model.read_counter(namespace, key).get(written.dot.actor)
            return tally is not None and tally.seq >= written.dot.seq
        case Kind.SET:
            live = model.read_element(namespace, key, field).live
            if isinstance(written.change, SetChange) and written.change.present:
                return written.dot in live or any(written.dot in other.observed for other in others)
            return not live & written.observed
        case _:
            here = (
                model.read_register(namespace, key)
                if kind is Kind.REGISTER
                else model.read_field(namespace, key, field)
            )
            if here is None or here.removed:
                return (here is not None and here.order >= written.order) or any(
                    other.order >= written.order and other.gone(latest_ms) for other in others
                )
            # Whoever was fenced may bring back what it wrote meanwhile, where a later removal was dropped without it.
            return here.order >= written.order or region_of(here.actor) in ledger.fenced


def different(regions: Sequence[Region]) -> str:
    """What differs between replicas; empty if they are equal, digests and contents."""
    for place, a in enumerate(regions):
        for b in regions[place + 1 :]:
            shared = a.scenario.holds[a.name] & a.scenario.holds[b.name]
            for namespace in sorted(shared):
                ours, theirs = _content(a.model, namespace), _content(b.model, namespace)
                if ours != theirs:
                    at = min(at for at in ours.keys() | theirs.keys() if ours.get(at) != theirs.get(at))
                    return f"{namespace} {at}: {a.name} has {ours.get(at)!r}, {b.name} has {theirs.get(at)!r}"
                if _live(a.model, namespace) != _live(b.model, namespace):
                    return f"digests of {namespace} differ between {a.name} and {b.name}"
    return ""


def _content(model: ModelStore, namespace: str) -> dict[tuple[str, str, str], bytes]:
    """The cells that are there, as stored."""
    found = {}
    for bucket in model.digests(namespace):
        for cell in model.listing(namespace, bucket).cells:
            value = raw.decode(cell.at.kind, cell.data)
            there = value.payload is not None if isinstance(value, Envelope) else True
            if not isinstance(value, Envelope) and hasattr(value, "live"):
                if not value.live:
                    continue
                cell_data = b",".join(str(dot).encode() for dot in sorted(value.live))
            else:
                cell_data = cell.data
            if there:
                found[cell.at.kind.value, cell.at.key, cell.at.field] = cell_data
    return found


def _live(model: ModelStore, namespace: str) -> dict[int, int]:
    return {bucket: digest.live for bucket, digest in model.digests(namespace).items() if digest.live}


def resident(region: Region) -> Iterator[Violation]:
    """Nothing is in the store or in the log that may not be there."""
    holds = region.scenario.holds[region.name]
    for namespace in region.model.namespaces():
        if namespace not in holds:
            yield Violation(
                Invariant.RESIDENCY, region.now(), f"the store of {region.name} holds {namespace}"
            )


def stale(region: Region, regions: dict[str, Region], ledger: Ledger) -> Iterator[Violation]:
    """What is missing here is not older than what is published."""
    replicator = region.replicator
    if (
        replicator is None
        or not region.store_up
        or region.frozen
        or region.now() - region.started_s < STORE_GRACE_S
    ):
        return
    now = region.now()
    vector = region.model.vector()
    holds = region.scenario.holds[region.name]
    for name in replicator.statistics().lag:
        published = replicator.staleness_ms(name)
        if published is None:
            continue
        if any(now - regions[one].clock.jumped_at < CLOCK_GRACE_S for one in (name, region.name)):
            continue
        for written in ledger.by_region[name]:
            if (
                written.acknowledged_s is None
                or written.lost_here
                or written.place[0] not in holds
                or vector.covers(written.dot)
                or origin(written) != name
            ):
                continue
            age_ms = (now - written.acknowledged_s) * 1000.0
            if age_ms > published + 1.0:
                yield Violation(
                    Invariant.STALENESS,
                    now,
                    f"{region.name} publishes {published:.0f} ms for {name}, and lacks {written.dot} of "
                    f"{age_ms:.0f} ms ago",
                )
            break


def recorded(ledger: Ledger) -> Iterator[Violation]:
    """What writing itself showed."""
    for disorder in ledger.disorders:
        yield Violation(
            Invariant.ORDER,
            disorder.written.at_s,
            f"{disorder.written.dot} ({_told(disorder.written.place)}) was written where {disorder.known.dot} was "
            "known, and is earlier",
        )
    for dot in ledger.reissued:
        yield Violation(Invariant.DOTS, 0.0, f"{dot} was issued twice")


def latest_ms(regions: Sequence[Region]) -> float:
    """The latest that any clock has ever shown, in Unix milliseconds: what expires later is not expired anywhere."""
    return max(region.clock.latest() for region in regions) * 1000.0


def ahead_s(regions: Sequence[Region]) -> float:
    """How far the furthest store's stamps are ahead of true time: what it wrote is delayed for so long."""
    if not regions:
        return 0.0
    now = EPOCH + regions[0].now()
    return max(0.0, *(millis(region.model.clock()) / 1000.0 - now for region in regions))


def _told(place: Place) -> str:
    namespace, kind, key, field = place
    return f"{namespace}/{kind.name.lower()}/{key}" + (f"/{field}" if field else "")
