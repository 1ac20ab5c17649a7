"""Negative controls: what each mechanism of replication is good for. Without it, an invariant must be found broken."""

from dataclasses import replace

import pytest

from atoll.simulate.state.invariants import Invariant
from atoll.simulate.state.parts import PRODUCTION, Parts
from atoll.simulate.state.scenario import Fault, FaultKind, Scenario
from atoll.simulate.state.world import simulate
from atoll.state.model import ModelStore
from atoll.state.operation import UnreadableOperation, decode
from atoll.state.replication import ReplicationParts, ReplicationSettings
from atoll.state.replication.messages import Acknowledge, Begin, Begun, encode
from atoll.state.replication.peers import Channel
from atoll.state.replication.pull import Pull
from atoll.state.replication.stability import Stability
from atoll.state.replication.steps import Steps, ask, own
from atoll.state.replication.transfer import Taken, Transfer
from atoll.state.stamp import Stamp, ahead_ms, stamp_of
from atoll.state.store import ApplyResult, Batch, LogSlice, Opened
from atoll.state.vector import Dot, Vector

SEEDS = range(6)
REGIONS = ("r1", "r2", "r3")


def scenario(*faults: Fault, **changes: object) -> Scenario:
    """Three regions that hold the same, with whatever a test changes."""
    made = Scenario(
        regions=REGIONS,
        holds=dict.fromkeys(REGIONS, frozenset({"world", "news"})),
        remote=frozenset({"world"}),
        rtt_s={frozenset(pair): 0.05 for pair in (("r1", "r2"), ("r1", "r3"), ("r2", "r3"))},
        faults=faults,
        settings=ReplicationSettings(verify_s=4.0, collect_s=0.4, log_keep=0, question_s=2.0),
        writes_per_s=10.0,
        heal_s=5.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # names and types are checked by Scenario itself


def found(made: Scenario, seed: int, parts: Parts) -> set[Invariant]:
    return {violation.invariant for violation in simulate(made, seed, parts).violations}


class NoEpochs(ModelStore):
    """A start goes on with the numbers that the disk has; those of a lost tail are issued again."""

    def open(self, region: str, identity: str, *, floor: int = 0) -> Opened:
        state = self._state
        if not state.identity:
            return super().open(region, identity)
        self._open = True
        return Opened(state.actor, Dot(state.actor, state.seq), fresh=False)


class NoGaps(ModelStore):
    """What follows the cursor is what is left of the log, and what comes is what was to come."""

    def read_log(self, after: Dot | None, count: int) -> LogSlice:
        found = super().read_log(after, count)
        if not found.gap:
            return found
        entries = [one for one in self._state.log.entries if after is None or one.dot > after]
        return LogSlice(tuple(entries[:count]))

    def apply(self, batch: Batch) -> ApplyResult:
        return super().apply(replace(batch, after=0))


class NaiveClock(ModelStore):
    """Stamps are what the wall clock shows."""

    def _tick(self) -> Stamp:
        self._state.stamp = stamp_of(self._now_ms)
        return self._state.stamp


class DropsFuture(ModelStore):
    """What is too far ahead of the clock is not taken in."""

    def _apply(self, dot: Dot, data: bytes) -> ApplyResult | None:
        try:
            if ahead_ms(decode(data).stamp, self._now_ms):
                return None
        except UnreadableOperation:
            pass
        return super()._apply(dot, data)


class RaisesFirst(Transfer):
    """Claims to know what is to be transferred, and then transfers it."""

    def steps(self) -> Steps[Taken]:
        begun = yield from ask(Begin(self._region, self._membership), Begun)
        yield from own(lambda store: store.raise_to(begun.vector, begun.stamp))
        return (yield from super().steps())


class AcknowledgesFirst(Pull):
    """Acknowledges what has come, and then applies it."""

    async def _received(self, channel: Channel, batch: Batch) -> None:
        await channel.send(encode(Acknowledge(Dot(batch.actor, batch.through), 0)))
        await super()._received(channel, batch)


class Unstable(Stability):
    """What is known here counts as known everywhere."""

    def stable(self, own: Vector) -> Vector:
        return own


LOST_TAIL = scenario(
    Fault(FaultKind.LOST_TAIL, "r1", 2.0, 2.4, amount=30), Fault(FaultKind.CUT, "r1", 2.1, 4.5, "r2")
)
TRIMMED = scenario(
    Fault(FaultKind.ISOLATE, "r1", 1.5, 3.5),
    Fault(FaultKind.TRIM, "r2", 2.0, 3.4),
    settings=replace(
        scenario().settings, credits=4
    ),  # else all that is written meanwhile is on its way already
)
WRONG_CLOCK = scenario(Fault(FaultKind.SKEW, "r1", 1.5, 4.0, amount=-0.24))
FAST_CLOCK = scenario(Fault(FaultKind.SKEW, "r1", 1.5, 4.0, amount=1.5))
WIPED = scenario(
    Fault(FaultKind.SKEW, "r1", 1.5, 2.5, amount=1.5),
    Fault(FaultKind.WIPE, "r1", 2.0, 2.3),
    settings=replace(scenario().settings, clock_limit_ms=10_000.0),
)
UNNOTICED = scenario(Fault(FaultKind.WIPE, "r1", 2.0, 2.001), embedded=True)
FAR = scenario(Fault(FaultKind.SLOW, "r1", 1.0, 4.0, "r2", amount=0.7))

CONTROLS: dict[str, tuple[Parts, Scenario, set[Invariant]]] = {
    "no epochs": (Parts(store=NoEpochs), LOST_TAIL, {Invariant.DOTS, Invariant.KNOWN, Invariant.EQUAL}),
    "trim without gap detection": (Parts(store=NoGaps), TRIMMED, {Invariant.KNOWN, Invariant.COUNTERS}),
    "naive wall clocks": (Parts(store=NaiveClock), WRONG_CLOCK, {Invariant.ORDER}),
    "drop of future stamps": (Parts(store=DropsFuture), FAST_CLOCK, {Invariant.KNOWN, Invariant.SURVIVES}),
    "transfer that raises the vector first": (
        Parts(replication=ReplicationParts(transfer=RaisesFirst)),
        scenario(Fault(FaultKind.WIPE, "r1", 2.0, 2.3)),
        {Invariant.KNOWN, Invariant.COUNTERS},
    ),
    "a session that outlives its store": (
        Parts(outlives_server=True),
        UNNOTICED,
        {Invariant.EQUAL, Invariant.KNOWN},
    ),
    "acknowledgements before apply": (
        Parts(replication=ReplicationParts(pull=AcknowledgesFirst)),
        WIPED,
        {Invariant.SURVIVES},
    ),
    "tombstones collected without stability": (
        Parts(replication=ReplicationParts(stability=Unstable)),
        FAR,
        {Invariant.KNOWN},
    ),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_without_it_an_invariant_is_broken(name: str) -> None:
    parts, made, expected = CONTROLS[name]
    assert any(found(made, seed, parts) & expected for seed in SEEDS), f"seeds {SEEDS} showed nothing"


@pytest.mark.parametrize("name", CONTROLS)
def test_with_it_the_same_run_is_sound(name: str) -> None:
    _, made, _ = CONTROLS[name]
    assert found(made, SEEDS[0], PRODUCTION) == set()
