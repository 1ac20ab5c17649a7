"""Everything as tables: every figure, each stretch of time, each event, and under what it ran."""

from collections.abc import Iterable, Sequence

from atoll.picture.markup import Markup, join, tag
from atoll.picture.scale import number
from loadtests.drills.charts.data import Bin, BusyPoint, Picture, merged
from loadtests.drills.charts.lanes import when
from loadtests.drills.figures import find
from loadtests.drills.page.words import NOTHING, again, coded, date, fault_done, origin, said
from loadtests.drills.report import DrillDocument
from loadtests.drills.scenario import FaultKind, Load

LONGEST = 120
"""Rows of the table that stands in for the plots; a longer drill's seconds are put together."""


def setting(document: DrillDocument) -> Markup:
    """Under what it ran, and how to run it again."""
    ran, durations, load = document.setting, document.setting.durations, document.drill.load
    faults = [fault for fault in document.drill.faults if fault.kind is not FaultKind.NONE]
    budget = document.drill.limits.failed
    facts = (
        ("Begun", date(ran.date)),
        ("Machine", ", ".join(f"{name} {value}" for name, value in ran.machine.items())),
        ("Topology", " ".join(filter(None, (document.drill.topology, ran.topology_digest[:12])))),
        ("Form", "short" if ran.short else "long"),
        (
            "Schedule",
            f"{durations.steady_s:g} s steady, {durations.fault_s:g} s of fault, {durations.recovery_s:g} s to recover",
        ),
        ("Users", _users(load, ran.rate)),
        ("Fault", "; ".join(map(fault_done, faults)) or "none: the load alone"),
        ("Error budget", f"called off when {budget:,} requests have failed from {origin(document.drill)} on"),
    )
    return join(
        tag("h2", "How to get it again"),
        tag("pre", tag("code", again(document))),
        tag(
            "dl", *(join(tag("dt", name), tag("dd", fact or NOTHING)) for name, fact in facts), class_="facts"
        ),
    )


def _users(load: Load, rate: float) -> str:
    shape = load.shape
    parts = [f"{rate:g} visits a second, {shape.kind.value}"]
    if shape.peak is not None:
        parts.append(f"peak {shape.peak:g} visits a second")
    parts.append(f"journey {load.journey}")
    parts.append(" and ".join(way.value for way in load.ways))
    if load.fails:
        parts.append(f"{load.fails:.0%} of attempts fail")
    if load.countries:
        parts.append("from " + ", ".join(load.countries))
    if load.timeout_s is not None:
        parts.append(f"a time-out of {load.timeout_s:g} s")
    if load.client_retries:
        parts.append(f"{load.client_retries} retries of their own")
    return ", ".join(parts)


def figures(document: DrillDocument) -> Markup:
    """Every figure there is, folded."""
    rows = []
    for name, seen in document.figures.items():
        known = find(name)
        unit = "" if known is None else known.unit
        rows.append((name, said(seen, unit), unit, "" if known is None else coded(known.meaning)))
    return folded(
        f"All {len(rows)} figures", table("Every figure", ("Figure", "Seen", "In", "What it is"), rows)
    )


def seconds(picture: Picture) -> Markup:
    """What the plots show, as a table."""
    each = max(1, -(-len(picture.bins) // LONGEST))
    bins = merged(picture.bins, each)
    regions = picture.regions
    columns = (
        f"From {picture.origin}",
        *(f"{region}, /s" for region in regions),
        "Failed",
        "p50, ms",
        "p99, ms",
        "Busy",
    )
    return folded(
        "The plots as a table",
        table(
            "Answers by region, errors and latency over time",
            columns,
            [_row(one, regions, picture.busy) for one in bins],
        ),
    )


def _row(one: Bin, regions: Sequence[str], busy: Sequence[BusyPoint]) -> tuple[str, ...]:
    shares = [point.share for point in busy if one.begin_s < point.at_s <= one.end_s]
    return (
        f"{one.begin_s:.0f} to {one.end_s:.0f} s".replace("-", "\u2212"),
        *(number(round(one.answers.get(region, 0.0), 1)) for region in regions),
        f"{sum(one.errors.values()):.0f}",
        *(NOTHING if value is None else number(round(value, 1)) for value in (one.p50_ms, one.p99_ms)),
        f"{sum(shares) / len(shares):.0%}" if shares else NOTHING,
    )


def events(document: DrillDocument, picture: Picture) -> Markup:
    """Everything on the time line, in full."""
    rows = [
        (when([one]), "figure" if one.kind is None else one.kind.value, one.text)
        for one in sorted(picture.events, key=lambda one: one.at_s)
    ]
    if not rows:
        return Markup()
    left_out = f", {document.marks_left_out:,} more were left out" if document.marks_left_out else ""
    return folded(
        f"All {len(rows)} events{left_out}",
        table(
            "Every event of the time line", (f"From {picture.origin}", "Kind", "What"), rows, numbers=False
        ),
    )


def folded(title: str, *inside: str) -> Markup:
    """Shut until somebody asks for it."""
    return tag("details", tag("summary", title), *inside)


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True
) -> Markup:
    """A table whose first column names its rows."""
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, class_="unseen"),
            tag("thead", tag("tr", *(tag("th", column, scope="col") for column in columns))),
            tag(
                "tbody",
                *(
                    tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
                    for row in rows
                ),
            ),
            class_="numbers" if numbers else None,
        ),
        class_="wide",
    )
