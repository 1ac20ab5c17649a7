"""Faults, figures and units as people say them."""

from collections.abc import Mapping

from atoll.picture.markup import Markup, join, tag
from atoll.picture.scale import number
from loadtests.drills.record import Way
from loadtests.drills.report import DrillDocument, ExpectationDocument, Value
from loadtests.drills.scenario import Drill, Fault, FaultKind
from loadtests.drills.verdict import Outcome

NOTHING = "\u2013"
"""Stands where nothing was seen."""
NEVER = "never"
PHASES = ("before", "during", "after")

WORDS = {
    Outcome.PASSED: "Passed",
    Outcome.FAILED: "Failed",
    Outcome.INCONCLUSIVE: "Inconclusive",
    Outcome.ABORTED: "Aborted",
}
SIGNS = {
    Outcome.PASSED: "\u2713",
    Outcome.FAILED: "\u2717",
    Outcome.INCONCLUSIVE: "?",
    Outcome.ABORTED: "\u25a0",
}

_DONE: Mapping[FaultKind, str] = {
    FaultKind.KILL: "{target} was killed",
    FaultKind.FREEZE: "{target} was frozen",
    FaultKind.CUT: "{link} was cut",
    FaultKind.SLOW: "{link} was slowed down",
    FaultKind.THROTTLE: "{link} was throttled",
    FaultKind.DRAIN: "{target} was drained",
    FaultKind.KILL_REPLICA: "a replica of {service} in {target} was killed, again each time it was back",
    FaultKind.FREEZE_REPLICA: "a replica of {service} in {target} was frozen",
    FaultKind.LIMP_REPLICA: "a replica of {service} in {target} limped",
    FaultKind.CLOCK_SKEW: "the clock of {target} was wrong",
    FaultKind.STORE_FULL: "the disk of {target} was full",
    FaultKind.STORE_MEMORY: "{target} had no more memory",
    FaultKind.RESTART_STORM: "every process of {target} was killed and came back",
}
_CALLED: Mapping[FaultKind, str] = {
    FaultKind.KILL: "{target} killed",
    FaultKind.FREEZE: "{target} frozen",
    FaultKind.CUT: "{link} cut",
    FaultKind.SLOW: "{link} slow",
    FaultKind.THROTTLE: "{link} throttled",
    FaultKind.DRAIN: "{target} drained",
    FaultKind.KILL_REPLICA: "replicas of {service} in {target} killed",
    FaultKind.FREEZE_REPLICA: "a replica of {service} in {target} frozen",
    FaultKind.LIMP_REPLICA: "a replica of {service} in {target} limps",
    FaultKind.CLOCK_SKEW: "{target}: clock wrong",
    FaultKind.STORE_FULL: "{target}: disk full",
    FaultKind.STORE_MEMORY: "{target}: no memory",
    FaultKind.RESTART_STORM: "{target}: all restarted",
}


def fault_done(fault: Fault) -> str:
    """What was done: ``eu-west was killed``."""
    return _said(_DONE.get(fault.kind, "{target}: " + fault.kind.replace("{", "")), fault)


def broken_by(drill: Drill) -> list[Fault]:
    """Its faults; empty if the load alone is the test."""
    return [fault for fault in drill.faults if fault.kind is not FaultKind.NONE]


def origin(drill: Drill) -> str:
    """What happens after the steady state; times are counted from there."""
    broken = broken_by(drill)
    if broken and all(fault.before_load for fault in broken):
        return "the steady state"  # nothing new breaks after it
    return "the fault" if broken else "the rise"


def heal(drill: Drill) -> str:
    """What ends it."""
    return "the heal" if broken_by(drill) else "the fall"


def fault_called(drill: Drill) -> str:
    """What the time in between is called in the picture."""
    broken, shape = broken_by(drill), drill.load.shape
    if not broken:
        return shape.kind.replace("-", " ") + (
            "" if shape.peak is None else f" to {shape.peak:g} visits a second"
        )
    said = [_said(_CALLED.get(fault.kind, "{target}: " + fault.kind), fault) for fault in broken]
    return ", ".join(said)


def _said(form: str, fault: Fault) -> str:
    if fault.other:
        link = f"the link {'from' if fault.one_way else 'between'} {fault.target} {'to' if fault.one_way else 'and'} "
        link += fault.other
    else:
        link = fault.target
    return form.format(target=fault.target, link=link, service=fault.service or "a service")


def said(seen: Value, unit: str = "") -> str:
    """A figure with its unit, as short as it can be read: ``0.42 s``, ``99.2 %``, ``12``."""
    if seen is None:
        return NOTHING
    if isinstance(seen, str):
        return seen
    if seen < 0:
        return f"\u2212{said(-seen, unit)}"
    match unit:
        case "s":
            return f"{number(round(seen, 3))} s"
        case "share":
            return f"{percent(seen)} %"
        case "ratio":
            return f"{seen:.2f}"
        case "requests/s":
            return f"{number(round(seen, 1))}/s"
    return number(round(seen, 2))


def percent(share: float) -> str:
    """Never rounded up to 100 nor down to 0: one failure in a million is not none."""
    hundred = share * 100
    for digits in (1, 2, 3, 4):
        text = f"{hundred:.{digits}f}"
        if (float(text) == 100) == (share >= 1) and (float(text) == 0) == (share == 0):
            return text.rstrip("0").rstrip(".")
    return "> 99.9999" if share > 0.5 else "< 0.0001"


def milliseconds(seconds: Value) -> str:
    """A latency."""
    if seen_number(seconds) is None:
        return said(seconds)
    milli = 1000 * (seen_number(seconds) or 0.0)
    return f"{number(round(milli, 1 if milli < 100 else 0))} ms"


def seen_number(seen: Value) -> float | None:
    """The figure where it is one."""
    return seen if isinstance(seen, int | float) else None


def sentence(document: DrillDocument) -> str:
    """What happened, in one sentence or two."""
    figures = document.figures
    broken, shape = broken_by(document.drill), document.drill.load.shape
    start, end = origin(document.drill), heal(document.drill)
    phases = document.phases
    lasted = f"{number(round(phases.heal_s - phases.fault_s, 1))} s"
    if phases.heal_s <= phases.fault_s:
        return f"The drill ended before {start}."
    if broken:
        what = "; ".join(fault_done(fault) for fault in broken)
        if all(fault.before_load for fault in broken):
            first = f"Before the first user came, {what}; with users there, it was healed"
        else:
            first = f"After {number(round(phases.fault_s))} s of steady load, {what}; {lasted} later it was healed"
    else:
        peak = "" if shape.peak is None else f", with a peak of {shape.peak:g} visits a second"
        first = f"Nothing was broken: for {lasted} the load alone was the test{peak}"
    if both_ways(figures):
        entry = _felt(figures, f"{Way.ENTRY}.", start, end)
        dns = _felt(figures, f"{Way.DNS}.", start, end)
        parts = f"Behind the entry {entry}. Of users that follow DNS {dns}"
    else:
        parts = _felt(figures, "", start, end)
        parts = parts[:1].upper() + parts[1:]
    return f"{first}. {parts}{_recovered(figures, start, end)}."


def both_ways(figures: Mapping[str, Value]) -> bool:
    """Whether users came behind the entry and others followed DNS: what they felt is told apart then."""
    return all(_requests(figures, f"{way}.") for way in Way)


def _requests(figures: Mapping[str, Value], whose: str) -> float:
    """From the fault on."""
    return sum(seen_number(figures.get(f"{phase}.{whose}requests")) or 0.0 for phase in ("during", "after"))


def failed(figures: Mapping[str, Value], whose: str = "") -> float | None:
    """Requests of some of the users that failed from the fault on; None if they sent none."""
    if not _requests(figures, whose):
        return None
    return sum(seen_number(figures.get(f"{phase}.{whose}errors")) or 0.0 for phase in ("during", "after"))


def _felt(figures: Mapping[str, Value], whose: str, start: str, end: str) -> str:
    """How many requests of some of the users failed, and for how long they felt it."""
    requests = _requests(figures, whose)
    if not requests:
        return "nobody sent a request meanwhile"
    lost = failed(figures, whose)
    if not lost:
        text = f"none of {requests:,.0f} requests from then on failed"
    else:
        text = f"{lost:,.0f} of {requests:,.0f} requests from then on failed"
        last = seen_number(figures.get(f"{whose}last_error_s"))
        if last:
            text += f", the last one {said(last, 's')} after {start}"
    return f"{text}; {_settled(figures.get(f'{whose}settled_s'), end)}"


def _settled(settled: Value, end: str) -> str:
    if settled is None:
        return "whether traffic settled can't be said"
    if settled == NEVER:
        return f"traffic did not settle before {end}"
    return "traffic never stirred" if settled == 0 else f"traffic had settled after {said(settled, 's')}"


def _recovered(figures: Mapping[str, Value], start: str, end: str) -> str:
    recovery = figures.get("recovery_s")
    if recovery is None:
        return ""
    if recovery == NEVER:
        return f". All was not yet as before {start} when the drill ended"
    if recovery == 0:
        return f". All was as before {start} from {end} on"
    return f". All was as before {start} {said(recovery, 's')} after {end}"


SIGN = {True: "\u2713", False: "\u2717", None: "?"}
HELD = {True: "held", False: "not held", None: "can't be said"}


def bound(one: ExpectationDocument) -> str:
    """What was expected, with its unit: ``at most 1 s``."""
    least = None if one.at_least is None else said(one.at_least, one.unit)
    most = None if one.at_most is None else said(one.at_most, one.unit)
    if least is None:
        return one.expected if most is None else f"at most {most}"
    return f"at least {least}" if most is None else f"from {least} to {most}"


def coded(text: str) -> Markup:
    """Words with names between backticks, as HTML."""
    return join(*(tag("code", part) if odd % 2 else part for odd, part in enumerate(text.split("`"))))


def date(text: str) -> str:
    """A date of a document, for people."""
    return text.replace("T", " ").replace("+00:00", " UTC")


def again(document: DrillDocument) -> str:
    """The command that runs it once more."""
    setting = document.setting
    parts = ["atoll drill", document.name]
    if setting.short:
        parts.append("--short")
    if setting.rate != document.drill.load.shape.rate:
        parts.append(f"--rate {setting.rate:g}")
    if setting.without:
        parts.append(f"--without {setting.without}")
    return " ".join(parts)
