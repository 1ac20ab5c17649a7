"""The page from top to bottom."""

from atoll.picture.markup import Markup, join, tag
from loadtests.drills.charts import timeline
from loadtests.drills.charts.data import Picture
from loadtests.drills.compare import Comparison
from loadtests.drills.page import tables
from loadtests.drills.page.comparison import comparison
from loadtests.drills.page.head import expectations, head
from loadtests.drills.page.style import WIDTHS, style
from loadtests.drills.page.view import picture
from loadtests.drills.page.ways import ways
from loadtests.drills.page.words import WORDS, sentence
from loadtests.drills.report import DrillDocument


def page(document: DrillDocument, compared: Comparison | None = None) -> str:
    """The report as one HTML file, which is also well-formed XML. It fetches nothing and runs nothing.

    `compared` is what an earlier report of the same drill says beside this one.
    """
    drawn = picture(document)
    title = f"{document.name}: {WORDS[document.verdict.outcome].lower()}"
    whole = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("style", Markup(style())),
        ),
        tag(
            "body",
            tag(
                "main",
                head(document),
                expectations(document),
                _pictures(document, drawn),
                ways(document),
                comparison(compared),
                tables.setting(document),
                tables.figures(document),
                tables.seconds(drawn),
                tables.events(document, drawn),
            ),
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{whole}\n"


def _pictures(document: DrillDocument, drawn: Picture) -> Markup:
    title = f"What the drill {document.name} showed over time"
    description = (
        f"{sentence(document)} Plots of traffic by region, latency, errors, replicas and the processor over one time "
        "axis, and a time line of events. The same is in the tables below."
    )
    return join(
        tag("h2", "Over time"),
        tag(
            "figure",
            *(tag("div", timeline(drawn, width, title, description), class_=f"w{width}") for width in WIDTHS),
        ),
    )
