"""What a drill showed, as one document: ``atoll.drill/1``. All its times are seconds since the drill began."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from loadtests.drills.figures import Figures, flatten
from loadtests.drills.record import MarkKind, Record
from loadtests.drills.scenario import Drill, Durations
from loadtests.drills.series import SampleSeries, Seconds, sample_series, seconds
from loadtests.drills.verdict import Judged, Outcome, Verdict

SCHEMA = "atoll.drill/1"
MOST_MARKS = 2000
"""So that a document stays under a mebibyte; faults and heals are never left out."""

Value = float | Literal["never"] | None
"""A figure in JSON, which knows no infinity. None: nothing was seen of it."""


@dataclass(frozen=True, slots=True)
class ExpectationDocument:
    """One expectation, or limit of the blast radius."""

    figure: str
    meaning: str
    unit: str
    expected: str
    at_least: float | None
    at_most: float | None
    seen: Value
    held: bool | None
    """None: it can't be said."""
    limit: bool


@dataclass(frozen=True, slots=True)
class VerdictDocument:
    outcome: Outcome
    reasons: tuple[str, ...]
    """The weightiest first; empty if all held."""
    expectations: tuple[ExpectationDocument, ...]


@dataclass(frozen=True, slots=True)
class PhasesDocument:
    """Seconds since the drill began, which is 0."""

    fault_s: float
    heal_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class MarkDocument:
    at_s: float
    kind: MarkKind
    text: str


@dataclass(frozen=True, slots=True)
class Setting:
    """Under what a drill ran; figures of two drills are compared only where this is alike."""

    date: str
    """When it began: RFC 3339, UTC."""
    machine: Mapping[str, str | int]
    short: bool
    durations: Durations
    rate: float
    """Visits a second of the steady state."""
    topology_digest: str
    without: str = ""
    """The mechanism of Atoll that was turned off, to see whether that is noticed; empty if none was."""


@dataclass(frozen=True, slots=True)
class DrillDocument:
    """The whole."""

    name: str
    title: str
    verdict: VerdictDocument
    setting: Setting
    drill: Drill
    """Its file, as it was read."""
    phases: PhasesDocument
    figures: Mapping[str, Value]
    """Under the names of `loadtests.drills.figures.TABLE`."""
    seconds: Seconds
    samples: SampleSeries
    marks: tuple[MarkDocument, ...]
    marks_left_out: int
    schema: str = SCHEMA


DRILL = TypeAdapter(DrillDocument)
"""Reads, writes and describes (JSON Schema) the document."""


class ReportError(Exception):
    """A report that can't be read; says why and what to do."""


def document(
    record: Record, drill: Drill, figures: Figures, verdict: Verdict, setting: Setting
) -> DrillDocument:
    """Puts it together."""
    begin_s = record.phases.steady_s
    marks = _most_telling(
        [
            MarkDocument(round(mark.at_s - begin_s, 3), mark.kind, mark.text)
            for mark in sorted(record.marks, key=lambda mark: mark.at_s)
        ]
    )
    return DrillDocument(
        name=drill.name,
        title=drill.title,
        verdict=VerdictDocument(verdict.outcome, verdict.reasons, tuple(map(_expectation, verdict.judged))),
        setting=setting,
        drill=drill,
        phases=PhasesDocument(
            round(record.phases.fault_s - begin_s, 3),
            round(record.phases.heal_s - begin_s, 3),
            round(record.phases.end_s - begin_s, 3),
        ),
        figures={name: _value(seen) for name, seen in flatten(figures).items()},
        seconds=seconds(record),
        samples=sample_series(
            [sample for sample in record.samples if begin_s <= sample.at_s <= record.phases.end_s], begin_s
        ),
        marks=marks,
        marks_left_out=len(record.marks) - len(marks),
    )


def write(found: DrillDocument, file: Path) -> None:
    """Writes it as JSON, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".part")
    beside.write_bytes(DRILL.dump_json(found) + b"\n")
    beside.replace(file)


def read(file: Path) -> DrillDocument:
    """Reads a report again. Raises `ReportError`."""
    try:
        body = file.read_bytes()
    except OSError as error:
        raise ReportError(f"{file}: {error.strerror}; give the path of a drill's JSON report") from error
    try:
        raw = json.loads(body)
    except ValueError as error:
        raise ReportError(f"{file} is not JSON ({error}); give the path of a drill's JSON report") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise ReportError(f"{file} is no report of a drill: its schema is {schema!r}, not {SCHEMA!r}")
    try:
        return DRILL.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReportError(
            f"{file} is a report of another version of Atoll: {where}: {first['msg']}; run the drill again"
        ) from error


def _expectation(one: Judged) -> ExpectationDocument:
    return ExpectationDocument(
        figure=one.figure,
        meaning=one.meaning,
        unit=one.unit,
        expected=one.expected,
        at_least=one.at_least,
        at_most=one.at_most,
        seen=_value(one.seen),
        held=one.held,
        limit=one.limit,
    )


def _value(seen: float | None) -> Value:
    if seen is None:
        return None
    return "never" if math.isinf(seen) else float(round(seen, 6))


def _most_telling(marks: list[MarkDocument]) -> tuple[MarkDocument, ...]:
    """All marks, or if there are too many the faults, heals and phases, and the first of the others."""
    room = MOST_MARKS - sum(mark.kind in _ALWAYS for mark in marks)
    kept = []
    for mark in marks:
        if mark.kind in _ALWAYS:
            kept.append(mark)
        elif room > 0:
            room -= 1
            kept.append(mark)
    return tuple(kept)


_ALWAYS = frozenset({MarkKind.FAULT, MarkKind.HEAL, MarkKind.PHASE})
