"""What every figure is called, what it is in, and what it means: one table, which the README shows.

``PHASE`` is before, during or after. ``[USERS.]`` is nothing for all users, or one group of them: ``entry.``,
``dns.``, ``critical.``, ``service.NAME.``; ``[WAY.]`` only ``entry.`` or ``dns.``. ``REGION`` and ``KIND`` stand for
what was seen.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

_PATTERNS = {
    "PHASE": "(?:before|during|after)",
    "[USERS.]": r"(?:(?:entry|dns|critical|service\.[a-z][a-z0-9-]*)\.)?",
    "[WAY.]": r"(?:(?:entry|dns)\.)?",
    "REGION": "[a-z][a-z0-9-]*",
    "KIND": "[A-Za-z0-9-]+",
}
_EXAMPLES = {
    "PHASE": ("before", "during", "after"),
    "[USERS.]": ("", "entry.", "dns.", "critical."),
    "[WAY.]": ("", "entry.", "dns."),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, or a family of them."""

    name: str
    unit: str
    meaning: str

    def matches(self, name: str) -> bool:
        """Whether a name is of this family."""
        pattern = re.escape(self.name)
        for word, stands_for in _PATTERNS.items():
            pattern = pattern.replace(re.escape(word), stands_for)
        return re.fullmatch(pattern, name) is not None

    def examples(self) -> Iterator[str]:
        """The names of this family, as far as they are known beforehand."""
        words = [word for word in _EXAMPLES if word in self.name]
        for values in product(*(_EXAMPLES[word] for word in words)):
            name = self.name
            for word, standing in zip(words, values, strict=True):
                name = name.replace(word, standing)
            yield name


TABLE: tuple[Figure, ...] = (
    Figure("PHASE.seconds", "s", "how long the phase took"),
    Figure("PHASE.[USERS.]requests", "requests", "sent"),
    Figure("PHASE.[USERS.]errors", "requests", "failed: no answer, or a status that is no success"),
    Figure("PHASE.[USERS.]errors.replayable", "requests", "failed although Atoll may send them twice"),
    Figure(
        "PHASE.errors.kind.KIND", "requests", "failed so: `refused`, `timeout`, a problem's type, a status"
    ),
    Figure("PHASE.[USERS.]availability", "share", "of the requests that succeeded"),
    Figure(
        "PHASE.[USERS.]goodput_per_s",
        "requests/s",
        "succeeded, by when they ended; from `load.wait` after the phase began, for until then it is the load before",
    ),
    Figure(
        "PHASE.[USERS.]latency.p50_s",
        "s",
        "from when it was due; half of those that succeeded took no longer",
    ),
    Figure("PHASE.[USERS.]latency.p90_s", "s", "from when it was due; nine of ten took no longer"),
    Figure("PHASE.[USERS.]latency.p99_s", "s", "from when it was due; 99 of 100 took no longer"),
    Figure("PHASE.[USERS.]latency.p999_s", "s", "from when it was due; 999 of 1,000 took no longer"),
    Figure("PHASE.[USERS.]latency.max_s", "s", "from when it was due; none took longer"),
    Figure("PHASE.[USERS.]latency.p99_ratio", "ratio", "p99 by that of the steady state"),
    Figure(
        "PHASE.[USERS.]tries",
        "ratio",
        "requests to those that users wanted; above 1 they retry by themselves",
    ),
    Figure("PHASE.share.REGION", "share", "of the answers that came from this region"),
    Figure("PHASE.amplification", "ratio", "attempts to requests that were let in"),
    Figure("PHASE.busy", "share", "of the machine's processor time that anybody used"),
    Figure("[WAY.]last_error_s", "s", "from the fault until its last error reached a user; 0 without one"),
    Figure("[WAY.]settled_s", "s", "from the fault until errors and slow windows ended, up to the heal"),
    Figure("recovery_s", "s", "from the heal until errors ended and every region had its share again"),
    Figure("exposure.failed", "requests", "of users that follow DNS, from the fault on"),
    Figure("exposure.seconds", "s", "from the first of these to the last"),
    Figure("failed", "requests", "from the fault on; what the error budget is for"),
    Figure("failed_elsewhere", "requests", "of these, by users whose region no fault touched"),
    Figure("amplification.worst_10s", "ratio", "the highest over any 10 s; floors of budgets count in full"),
    Figure(
        "amplification.over_budget",
        "attempts",
        "above 1.2 times the requests and the floor, over any 10 s of a service; at most 0 is promised",
    ),
    Figure("writes.acknowledged", "writes", "that users were told of"),
    Figure("writes.unknown", "writes", "of which nobody told; either is right"),
    Figure("writes.lost", "writes", "acknowledged, and not there"),
    Figure("writes.duplicated", "writes", "there more often than asked for"),
    Figure(
        "autoscaling.reaction_s",
        "s",
        "from the fault until a service somewhere ran more replicas than before it",
    ),
    Figure("autoscaling.calm_s", "s", "from the heal until none ran more than before the fault"),
    Figure(
        "autoscaling.turns", "changes", "of direction of what Serve wanted of a service in a region, at most"
    ),
    Figure("autoscaling.most_replicas", "replicas", "running at once, everywhere"),
    Figure("autoscaling.added", "replicas", "more than before the fault, at most at once, everywhere"),
    Figure("clock.noticed_s", "s", "from the fault until a region refused writes because of its clock"),
    Figure("clock.trusted_s", "s", "from the heal until none refused them any more"),
    Figure("busy.mean", "share", "of the machine's processor time in use, from the steady state to the end"),
    Figure("busy.most_5s", "share", "the highest over any 5 s"),
    Figure("restarts", "processes", "of regions that ended by themselves and were started again"),
)
"""Every figure there is. A moment that never came is `NEVER`; a figure that nothing was seen of is None."""


def find(name: str) -> Figure | None:
    """The figure of a name, if there is one."""
    return next((figure for figure in TABLE if figure.matches(name)), None)


def near(name: str) -> tuple[str, ...]:
    """Names of figures that somebody may have meant, the nearest first; at most three."""
    known = [example for figure in TABLE for example in figure.examples()]
    return tuple(difflib.get_close_matches(name, known, n=3))


def markdown() -> str:
    """The table as the README has it."""
    rows = "".join(f"| `{figure.name}` | {figure.unit} | {figure.meaning} |\n" for figure in TABLE)
    return f"| figure | in | what |\n|---|---|---|\n{rows}"
