"""Operations of other regions, in order (`library/apply.lua`)."""

from collections.abc import Iterable

from atoll.state.errors import Refusal, StoreRefused
from atoll.state.model.merge import Merging
from atoll.state.model.region import command
from atoll.state.operation import Begin, Heartbeat, Operation, UnreadableOperation, Write, decode
from atoll.state.stamp import ahead_ms
from atoll.state.store import ApplyOutcome, ApplyResult, Batch, PeerState
from atoll.state.vector import Actor, Dot, region_of


class Applying(Merging):
    """Merges, and moves the cursor, in one step."""

    @command
    def apply(self, batch: Batch) -> ApplyResult:
        self._must_be_open()
        state = self._state
        actor = batch.actor
        known = state.vector.seq(actor)
        if batch.through <= known:
            return ApplyResult(ApplyOutcome.STALE, known)
        if actor == state.actor:
            raise StoreRefused(
                Refusal.TWIN,
                f"operation {batch.through} of its own actor {actor} came, but it wrote only {known}; "
                f"find and stop the other store that runs as region {state.region}",
            )
        if batch.after > known:
            state.counts["gaps"] += 1
            return ApplyResult(ApplyOutcome.GAP, known)
        applied = 0
        stopped = None
        for seq, data in batch.entries:
            if seq <= known:
                continue
            stopped = self._apply(Dot(actor, seq), data)
            if stopped is not None:
                break
            applied += 1
            self._know(actor, seq)
        if stopped is None:
            self._know(actor, batch.through)
        state.counts["applied"] += applied
        reached = state.vector.seq(actor)
        if stopped is None:
            return ApplyResult(ApplyOutcome.OK, reached, applied)
        return ApplyResult(stopped.outcome, reached, applied, stopped.delay_ms, stopped.needs)

    def _apply(self, dot: Dot, data: bytes) -> ApplyResult | None:
        """Applies one operation of another actor; answers why it can't be, or None."""
        state = self._state
        try:
            operation = decode(data)
        except UnreadableOperation:
            stopped = ApplyResult(ApplyOutcome.UNREADABLE, dot.seq - 1)
        else:
            if delay_ms := ahead_ms(operation.stamp, self._now_ms):
                state.counts["futures"] += 1
                stopped = ApplyResult(ApplyOutcome.FUTURE, dot.seq - 1, delay_ms=delay_ms)
            elif needs := self._unmet(operation):
                state.counts["waits"] += 1
                stopped = ApplyResult(ApplyOutcome.WAIT, dot.seq - 1, needs=needs)
            else:
                state.stamp = max(state.stamp, operation.stamp)
                self._take_in(dot, operation)
                return None
        # What lies between the last operation and this one is none that may be held here, and is known so.
        self._know(dot.actor, dot.seq - 1)
        return stopped

    def _unmet(self, operation: Operation) -> Dot | None:
        match operation:
            case Write():
                deps: Iterable[tuple[Actor, int]] = operation.deps.items()
            case Begin(previous=Dot() as previous):
                deps = (previous,)
            case _:
                deps = ()
        known = self._state.vector
        return min((dot for actor, seq in deps if not known.covers(dot := Dot(actor, seq))), default=None)

    def _take_in(self, dot: Dot, operation: Operation) -> None:
        match operation:
            case Write():
                self._merge_write(dot, operation)
            case Heartbeat():
                region = region_of(dot.actor)
                self._state.peers[region] = PeerState(
                    region, dot.actor, operation.vector, operation.stamp, operation.wall_ms, self._now_ms
                )
            case Begin():
                pass
