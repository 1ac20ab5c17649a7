"""Users behind the entry and users that follow DNS, told apart: what a gateway's end costs differs between them."""

from collections.abc import Mapping

from atoll.picture.markup import Markup, join, tag
from loadtests.drills.page.words import milliseconds, said
from loadtests.drills.record import Way
from loadtests.drills.report import DrillDocument, Value

NAMES = {
    Way.ENTRY: ("behind the entry", "as with anycast: steered anew at each request"),
    Way.DNS: ("following DNS", "keeps its gateway until the time to live runs out, whatever happens to it"),
}
COLUMNS = (
    "Users",
    "Requests, during",
    "Failed, during",
    "Failed, after",
    "Succeeded, during",
    "p99, during",
    "Last error",
    "Settled",
)


def ways(document: DrillDocument) -> Markup:
    """A row for each way that users went."""
    figures = document.figures
    gone = [
        way for way in Way if figures.get(f"during.{way}.requests") or figures.get(f"before.{way}.requests")
    ]
    if not gone:
        return Markup()
    rows = [
        tag(
            "tr",
            tag("th", NAMES[way][0], tag("small", NAMES[way][1]), scope="row"),
            *(
                tag("td", cell, data_label=column)
                for column, cell in zip(COLUMNS[1:], _cells(document.figures, way), strict=True)
            ),
        )
        for way in gone
    ]
    return join(
        tag("h2", "Users by the way they come"),
        tag("p", _exposure(document)) if Way.DNS in gone else "",
        tag(
            "div",
            tag(
                "table",
                tag("caption", "What users of each way got", class_="unseen"),
                tag("thead", tag("tr", *(tag("th", column, scope="col") for column in COLUMNS))),
                tag("tbody", *rows),
                class_="stacked",
            ),
            class_="wide",
        ),
    )


def _cells(figures: Mapping[str, Value], way: Way) -> tuple[str, ...]:
    return (
        said(figures.get(f"during.{way}.requests")),
        said(figures.get(f"during.{way}.errors")),
        said(figures.get(f"after.{way}.errors")),
        said(figures.get(f"during.{way}.availability"), "share"),
        milliseconds(figures.get(f"during.{way}.latency.p99_s")),
        "none" if figures.get(f"{way}.last_error_s") == 0 else said(figures.get(f"{way}.last_error_s"), "s"),
        said(figures.get(f"{way}.settled_s"), "s"),
    )


def _exposure(document: DrillDocument) -> str:
    failed, seconds = (document.figures.get(f"exposure.{name}") for name in ("failed", "seconds"))
    rule = (
        "Users that follow DNS stay with a gateway that is gone until the time to live of its address runs out; "
        "nothing behind the gateway can help them."
    )
    if failed is None:
        return rule
    if failed == 0:
        return f"{rule} In this drill none of their requests failed."
    many = f"{said(failed)} of their requests failed" if failed != 1 else "one of their requests failed"
    return f"{rule} In this drill {many}, over {said(seconds, 's')}."
