"""The top of the page: verdict, what happened, key figures, and what was expected."""

from collections.abc import Iterator, Mapping

from atoll.picture.markup import Markup, join, tag
from atoll.picture.scale import number
from loadtests.drills.page.words import (
    HELD,
    PHASES,
    SIGN,
    SIGNS,
    WORDS,
    both_ways,
    bound,
    coded,
    failed,
    heal,
    origin,
    said,
    seen_number,
    sentence,
)
from loadtests.drills.record import Way
from loadtests.drills.report import DrillDocument, Value

CLASS = {True: "good", False: "bad", None: "unknown"}
KEYS = (
    ("last_error_s", "s", "Last error", "after {origin}, up to {heal}"),
    ("settled_s", "s", "Settled", "after {origin}"),
    ("failed", "requests", "Failed", "requests, from {origin} on"),
    ("p99", "", "p99", "ms, before \u2192 during \u2192 after"),
    ("recovery_s", "s", "Recovered", "after {heal}"),
    ("during.amplification", "ratio", "Amplification", "attempts a request, from {origin} to {heal}"),
)
"""Figure, unit, title, what it counts; `origin` and `heal` as in `words`."""
OF_WAYS = frozenset({"last_error_s", "settled_s", "failed"})
"""What users of each way feel for themselves."""
BOTH = "behind the entry \u00b7 following DNS, "
P99 = ("during.latency.p99_s", "during.latency.p99_ratio", "after.latency.p99_s")
"""The first of them that something was expected of is told beside the p99."""


def head(document: DrillDocument) -> Markup:
    """Everything that answers: did it hold?"""
    verdict, setting = document.verdict, document.setting
    without = (
        tag("p", f"Run without {setting.without}, to see whether that is noticed.", class_="warning")
        if setting.without
        else ""
    )
    reasons = tag("ul", *(tag("li", reason) for reason in verdict.reasons), class_="reasons")
    return tag(
        "header",
        tag(
            "p",
            tag(
                "span",
                f"{SIGNS[verdict.outcome]} {WORDS[verdict.outcome]}",
                class_=f"verdict {verdict.outcome}",
            ),
            tag("span", f"drill {document.name}", class_="name"),
            class_="badge",
        ),
        tag("h1", document.title),
        tag("p", sentence(document), class_="lead"),
        without,
        reasons if verdict.reasons else "",
        _keys(document),
    )


def _keys(document: DrillDocument) -> Markup:
    called = {"origin": origin(document.drill), "heal": heal(document.drill)}
    both = both_ways(document.figures)
    cards = []
    for figure, unit, title, counts in KEYS:
        apart = both and figure in OF_WAYS
        words = (BOTH if apart else "") + counts.format(**called)
        cards.append(
            tag(
                "div",
                tag("dt", title),
                tag("dd", _value(document.figures, figure, unit, apart=apart), class_="figure"),
                tag("dd", words, class_="counts"),
                *_expected(document, figure),
            )
        )
    return tag("dl", *cards, class_="keys")


def _value(figures: Mapping[str, Value], figure: str, unit: str, *, apart: bool) -> str:
    """A figure; `apart` has it of users behind the entry and of those that follow DNS."""
    if figure == "p99":
        return " \u2192 ".join(_brief(figures.get(f"{phase}.latency.p99_s")) for phase in PHASES)
    if figure == "failed" and apart:
        return " \u00b7 ".join(said(failed(figures, f"{way}.")) for way in Way)
    seen = [figures.get(f"{way}.{figure}") for way in Way] if apart else [figures.get(figure)]
    # A last error at 0 s is how the figures say that there was none.
    return " \u00b7 ".join(
        "none" if figure == "last_error_s" and one == 0 else said(one, unit) for one in seen
    )


def _brief(seen: Value) -> str:
    """Milliseconds, without their unit."""
    seconds = seen_number(seen)
    if seconds is None:
        return said(seen)
    return number(round(seconds * 1000, 0 if seconds >= 0.01 else 1))


def _expected(document: DrillDocument, figure: str) -> list[Markup]:
    """What was expected of a figure, or of that of one way; that is said by its name where it isn't the one shown."""
    known = {one.figure: one for one in document.verdict.expectations}
    names = P99 if figure == "p99" else (figure, *(f"{way}.{figure}" for way in Way))
    found = [known[name] for name in names if name in known]
    return [
        tag(
            "dd",
            f"{SIGN[one.held]} {'' if one.figure == figure else one.figure + ' '}{bound(one)}",
            class_=CLASS[one.held],
        )
        for one in (found[:1] if figure == "p99" else found)
    ]


def expectations(document: DrillDocument) -> Markup:
    """Each expectation with what was seen."""
    if not document.verdict.expectations:
        return join(tag("h2", "Expectations"), tag("p", "This drill expects nothing; it only measures."))
    columns = ("Figure", "Expected", "Seen", "Held")
    return join(
        tag("h2", "Expectations"),
        tag(
            "div",
            tag(
                "table",
                tag("caption", "What the scenario expects, and what was seen", class_="unseen"),
                tag("thead", tag("tr", *(tag("th", column, scope="col") for column in columns))),
                tag("tbody", *_rows(document)),
                class_="stacked",
            ),
            class_="wide",
        ),
    )


def _rows(document: DrillDocument) -> Iterator[Markup]:
    for one in document.verdict.expectations:
        seen = "nothing" if one.seen is None else said(one.seen, one.unit)
        meaning = ". ".join(filter(None, (one.meaning, "Limit of the blast radius" if one.limit else "")))
        yield tag(
            "tr",
            tag("th", tag("code", one.figure), tag("small", coded(meaning)), scope="row"),
            tag("td", bound(one), data_label="Expected"),
            tag("td", seen, data_label="Seen"),
            tag("td", f"{SIGN[one.held]} {HELD[one.held]}", class_=CLASS[one.held], data_label="Held"),
        )
