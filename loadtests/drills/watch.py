"""What is seen of a run from outside: a sample a second, and marks of what Atoll did by itself between two of them."""

from collections.abc import Iterator

from atoll.cell.status import ProcessState, RegionState, RegionStatus, RunStatus
from loadtests.drills.record import Mark, MarkKind, RegionSample, Sample


class Watch:
    """Turns statuses into samples and marks; keeps the one before to compare with."""

    def __init__(self) -> None:
        self._before: RunStatus | None = None

    def look(self, status: RunStatus | None, at_s: float, busy: float) -> tuple[Sample, tuple[Mark, ...]]:
        """`status` is None while nobody tells (a remote deployment, or a supervisor that is late)."""
        if status is None:
            return Sample(at_s, busy, {}), ()
        before, self._before = self._before, status
        if before is None:
            marks: tuple[Mark, ...] = ()
        else:
            marks = (
                *(Mark(at_s, MarkKind.ALERT, text) for text in alerts(before, status)),
                *(Mark(at_s, MarkKind.DECISION, text) for text in changes(before, status)),
            )
        return Sample(at_s, busy, {name: _sample(region) for name, region in status.regions.items()}), marks


def _sample(region: RegionStatus) -> RegionSample:
    trusted = [seen == "healthy" for seen in region.health.values()]
    return RegionSample(
        state=region.state.value,
        healthy_for=sum(trusted) / len(trusted) if trusted else 1.0,
        replicas={service: count.running for service, count in region.replicas.items()},
        targets={service: count.target for service, count in region.replicas.items()},
        in_flight=dict(region.in_flight),
        restarts=sum(process.restarts for process in region.processes),
        refuses_writes=_refusal(region) != "",
    )


def _refusal(region: RegionStatus) -> str:
    """Why a region's store refuses writes; empty if it doesn't, or nobody tells."""
    return "" if region.state_report is None else region.state_report.writes_refused


def alerts(before: RunStatus, after: RunStatus) -> Iterator[str]:
    """What an operator would be told between two statuses: a region is not as it should be, or is again. Pure."""
    for name, now in after.regions.items():
        was = before.regions.get(name)
        if was is None:
            continue
        if (refusal := _refusal(now)) and not _refusal(was):
            yield f"{name} refuses writes: {refusal}"
        elif _refusal(was) and not refusal and now.state_report is not None:
            yield f"{name} takes writes again"
        if now.state is was.state:
            continue
        if now.state in _BAD:
            detail = f": {now.detail}" if now.state is RegionState.DEGRADED and now.detail else ""
            yield f"{name} is {now.state.value}{detail}"
        elif now.state is RegionState.READY and was.state is not RegionState.DRAINING:
            yield f"{name} is ready again"


def changes(before: RunStatus, after: RunStatus) -> Iterator[str]:
    """What Atoll did between two statuses, in words. Pure."""
    for name, now in after.regions.items():
        if (then := before.regions.get(name)) is not None:
            yield from _trust(name, then, now)
            yield from _replicas(name, then, now)
            yield from _ahead(name, then, now)
            yield from _processes(name, then, now)
            if now.draining != then.draining:
                yield f"{name} is draining" if now.draining else f"{name} takes traffic again"
    for now_one in after.processes:
        for then_one in before.processes:
            if then_one.name == now_one.name and now_one.restarts > then_one.restarts:
                yield f"{now_one.name} was started again"


def _trust(name: str, then: RegionStatus, now: RegionStatus) -> Iterator[str]:
    for trusted, words in ((False, "distrusted by"), (True, "trusted again by")):
        who = [
            gateway
            for gateway, seen in now.health.items()
            if gateway in then.health
            and (seen == "healthy") is trusted
            and (then.health[gateway] == "healthy") is not trusted
        ]
        if who:
            everybody = len(who) == len(now.health) > 1
            yield f"{name} is {words} {'all gateways' if everybody else ', '.join(sorted(who))}"


def _replicas(name: str, then: RegionStatus, now: RegionStatus) -> Iterator[str]:
    """None is reported by a region that doesn't answer: that is no decision."""
    for service, count in now.replicas.items():
        if (was := then.replicas.get(service)) is None:
            continue
        if count.target != was.target:
            yield f"{name} wants {count.target} of {service} instead of {was.target}"
        if count.running != was.running:
            yield f"{name} runs {count.running} of {service} instead of {was.running}"


def _ahead(name: str, then: RegionStatus, now: RegionStatus) -> Iterator[str]:
    earlier = () if then.ahead is None else then.ahead.raises
    for one in () if now.ahead is None else now.ahead.raises:
        if one not in earlier:
            yield f"{name} keeps {one.replicas} of {one.service} ahead of the load of {', '.join(sorted(one.lost))}"


def _processes(name: str, then: RegionStatus, now: RegionStatus) -> Iterator[str]:
    earlier = {process.name: process for process in then.processes}
    for process in now.processes:
        was = earlier.get(process.name)
        if was is not None and process.restarts > was.restarts:
            yield f"{name}/{process.name} ended and is started again"
        elif was is not None and (was.state, process.state) in _BACK:
            yield f"{name}/{process.name} runs again"


_BAD = {RegionState.DEGRADED, RegionState.KILLED, RegionState.FROZEN, RegionState.DOWN}

_BACK = {
    (state, ProcessState.RUNNING)
    for state in (ProcessState.KILLED, ProcessState.RESTARTING, ProcessState.STARTING)
}
