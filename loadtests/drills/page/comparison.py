"""Beside an earlier run of the same drill: what got better, what got worse."""

from collections.abc import Iterable

from atoll.picture.markup import Markup, join, tag
from loadtests.drills.compare import Change, Compared, Comparison
from loadtests.drills.page.tables import folded
from loadtests.drills.page.words import NOTHING, date, said

COLUMNS = ("Figure", "Then", "Now", "Difference", "What became of it")
WORDS = {
    Change.BETTER: "\u2713 better",
    Change.WORSE: "\u2717 worse",
    Change.SAME: "the same, as far as chance lets one see",
    Change.OTHER: "changed",
    Change.UNSEEN: "not seen in both",
}
CLASS = {Change.BETTER: "good", Change.WORSE: "bad"}
ALIKE = "No figure got better or worse by more than chance explains."


def outcomes(compared: Comparison) -> str:
    """How both ended, in words."""
    return f"Then {compared.old_outcome}, now {compared.new_outcome}."


def cells(one: Compared) -> tuple[str, str, str, str]:
    """What is said of a figure: then, now, difference, and what became of it."""
    difference = NOTHING if one.difference is None else said(one.difference, one.unit)
    if one.difference is not None and one.difference > 0:
        difference = f"+{difference}"
    return said(one.old, one.unit), said(one.new, one.unit), difference, WORDS[one.change]


def comparison(compared: Comparison | None) -> Markup:
    """Nothing where nothing was compared."""
    if compared is None:
        return Markup()
    then = date(compared.old_date)
    telling = compared.telling
    warnings = (tag("li", warning) for warning in compared.warnings)
    return join(
        tag("h2", f"Beside the run of {then}"),
        tag("p", outcomes(compared)),
        tag("p", "What else differs may be the reason:") if compared.warnings else "",
        tag("ul", *warnings, class_="reasons") if compared.warnings else "",
        _table("Figures that changed", telling) if telling else tag("p", ALIKE),
        folded(f"All {len(compared.figures)} figures of both", _table("Every figure", compared.figures)),
    )


def _table(caption: str, figures: Iterable[Compared]) -> Markup:
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, class_="unseen"),
            tag("thead", tag("tr", *(tag("th", column, scope="col") for column in COLUMNS))),
            tag("tbody", *map(_row, figures)),
            class_="stacked",
        ),
        class_="wide",
    )


def _row(one: Compared) -> Markup:
    classes = (None, None, None, CLASS.get(one.change))
    return tag(
        "tr",
        tag("th", tag("code", one.figure), scope="row"),
        *(
            tag("td", cell, class_=class_, data_label=column)
            for cell, class_, column in zip(cells(one), classes, COLUMNS[1:], strict=True)
        ),
    )
