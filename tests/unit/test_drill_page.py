import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.unit.drill_pages import NASTY, Story, made

from atoll.picture.labels import Box, box
from loadtests.drills.compare import compare
from loadtests.drills.page import page
from loadtests.drills.page.style import WIDTHS
from loadtests.drills.page.words import again, milliseconds, percent, said, sentence
from loadtests.drills.record import Way
from loadtests.drills.report import DRILL, DrillDocument, Value
from loadtests.drills.scenario import Durations, Expectation, FaultKind


def parsed(text: str) -> ET.Element:
    """A page is well-formed XML, or this raises."""
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def pictures(text: str) -> dict[int, ET.Element]:
    """Width -> picture."""
    return {int(picture.attrib["width"]): picture for picture in parsed(text).iter("svg")}


def boxes(picture: ET.Element) -> list[tuple[str, Box]]:
    """What each text takes, reckoned anew from what the picture says."""
    return [
        (
            text.text or "",
            box(
                text.text or "",
                float(text.attrib["x"]),
                float(text.attrib["y"]),
                float(text.attrib["font-size"]),
                text.attrib.get("text-anchor", "start"),
                bold="font-weight" in text.attrib,
            ),
        )
        for text in picture.iter("text")
    ]


def overlapping(picture: ET.Element) -> Iterator[tuple[str, str]]:
    for (one, here), (other, there) in combinations(boxes(picture), 2):
        if here.overlaps(there):
            yield one, other


def outside(picture: ET.Element) -> Iterator[str]:
    """A tenth of a pixel is what coordinates are rounded to."""
    _, _, wide, high = map(float, picture.attrib["viewBox"].split())
    for text, place in boxes(picture):
        if place.left < -0.1 or place.top < -0.1 or place.right > wide + 0.1 or place.bottom > high + 0.1:
            yield text


def text_of(text: str) -> str:
    return " ".join("".join(parsed(text).itertext()).split())


@pytest.fixture(scope="module", params=NASTY)
def nasty(request: pytest.FixtureRequest) -> tuple[DrillDocument, str]:
    document = made(NASTY[request.param])
    return document, page(document)


class TestEveryPage:
    def test_is_well_formed_and_has_a_picture_of_each_width(self, nasty: tuple[DrillDocument, str]) -> None:
        assert set(pictures(nasty[1])) == set(WIDTHS)

    def test_no_words_lie_over_others_nor_leave_the_picture(self, nasty: tuple[DrillDocument, str]) -> None:
        for width, picture in pictures(nasty[1]).items():
            assert boxes(picture)
            assert list(overlapping(picture)) == [], width
            assert list(outside(picture)) == [], width

    def test_every_shape_is_drawn_at_numbers(self, nasty: tuple[DrillDocument, str]) -> None:
        for picture in pictures(nasty[1]).values():
            for element in picture.iter():
                drawn = " ".join(value for name, value in element.attrib.items() if name in GEOMETRY)
                assert not re.search("nan|inf|None|e[+-]", drawn), (element.tag, drawn)
                assert float(element.attrib.get("width", 0)) >= 0
                assert float(element.attrib.get("height", 0)) >= 0

    def test_fetches_and_runs_nothing(self, nasty: tuple[DrillDocument, str]) -> None:
        found = Fetches()
        found.feed(nasty[1])
        assert found.seen == []
        assert "url(" not in nasty[1]
        assert "@import" not in nasty[1]

    def test_says_verdict_reasons_and_every_expectation(self, nasty: tuple[DrillDocument, str]) -> None:
        document, text = nasty
        words = text_of(text)
        assert document.verdict.outcome.capitalize() in words
        for wanted in (document.title, *document.verdict.reasons, again(document)):
            assert " ".join(wanted.split()) in words
        for one in document.verdict.expectations:
            assert one.figure in words

    def test_has_every_figure_in_a_table(self, nasty: tuple[DrillDocument, str]) -> None:
        document, text = nasty
        heads = {"".join(head.itertext()) for head in parsed(text).iter("th")}
        assert set(document.figures) <= heads

    def test_can_be_heard(self, nasty: tuple[DrillDocument, str]) -> None:
        whole = parsed(nasty[1])
        assert whole.attrib["lang"] == "en"
        assert len(list(whole.iter("h1"))) == 1
        for picture in whole.iter("svg"):
            assert picture.attrib["role"] == "img"
            assert picture[0].tag == "title" and picture[0].text
            assert picture[1].tag == "desc" and picture[1].text
        for table in whole.iter("table"):
            assert table[0].tag == "caption" and table[0].text
            assert all(head.attrib["scope"] in {"col", "row"} for head in table.iter("th"))

    def test_stays_small(self, nasty: tuple[DrillDocument, str]) -> None:
        assert len(nasty[1]) < 1_000_000


GEOMETRY = frozenset({"x", "y", "x1", "x2", "y1", "y2", "d", "width", "height", "cx", "cy", "viewBox"})


class Fetches(HTMLParser):
    """Whatever would make a browser ask somebody, or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "form"}:
            self.seen.append(tag)
        self.seen += [name for name, _ in attrs if name in {"src", "href", "xlink:href", "srcset", "action"}]
        self.seen += [name for name, _ in attrs if name.startswith("on")]


class TestControls:
    """The checks above see what they are for."""

    def test_words_moved_onto_others_are_seen(self) -> None:
        picture = pictures(page(made(NASTY["plain"])))[960]
        first, second = list(picture.iter("text"))[:2]
        second.attrib.update(x=first.attrib["x"], y=first.attrib["y"])
        assert list(overlapping(picture))

    def test_words_moved_out_of_the_picture_are_seen(self) -> None:
        picture = pictures(page(made(NASTY["plain"])))[960]
        next(picture.iter("text")).attrib["x"] = "-20"
        assert list(outside(picture))

    def test_something_that_is_fetched_is_seen(self) -> None:
        found = Fetches()
        found.feed('<img src="x"><a href="y" onclick="z">')
        assert found.seen == ["img", "src", "href", "onclick"]


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    regions=st.lists(names, min_size=1, max_size=9, unique=True),
    kinds=st.lists(names, max_size=10, unique=True),
    title=names,
    rate=st.floats(0.5, 8),
    steady_s=st.floats(1, 15),
    fault_s=st.floats(0, 15),
    recovery_s=st.floats(0, 40),
    decisions=st.integers(0, 60),
    within_s=st.floats(0, 40),
    busy=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_whatever_the_names_and_the_data_the_page_is_whole(
    regions: list[str],
    kinds: list[str],
    title: str,
    rate: float,
    steady_s: float,
    fault_s: float,
    recovery_s: float,
    decisions: int,
    within_s: float,
    busy: float,
    seed: int,
) -> None:
    story = Story(
        title=title,
        regions=regions,
        kinds=kinds,
        rate=rate,
        durations=Durations(steady_s, fault_s, recovery_s),
        ways=(Way.ENTRY, Way.DNS),
        decisions=decisions,
        decisions_within_s=within_s,
        text="{region} did something",
        busy=busy,
        seed=seed,
    )
    text = page(made(story))
    for width, picture in pictures(text).items():
        assert list(overlapping(picture)) == [], width
        assert list(outside(picture)) == [], width
    found = Fetches()
    found.feed(text)
    assert found.seen == []


def test_names_are_words_and_never_markup() -> None:
    evil = '<script src="http://x/y.js">&amp;</script>'
    text = page(made(Story(title=evil, name="a&b", regions=(evil, "us-east"), kinds=(evil,), text=evil)))
    assert "<script" not in text
    assert evil in "".join(parsed(text).itertext())


class TestWords:
    def test_what_happened_in_a_sentence(self) -> None:
        assert sentence(made(Story())).startswith(
            "After 20 s of steady load, eu-west was killed; 40 s later it was healed. None of "
        )
        failed = sentence(made(Story(kinds=("refused",), ways=(Way.DNS,))))
        assert re.search(
            r"\. \d+ of 1,\d+ requests from then on failed, the last one [\d.]+ s after the fault", failed
        )
        surge = sentence(made(NASTY["surge"]))
        assert surge.startswith("Nothing was broken: for 40 s the load alone was the test. None of ")
        assert "fault" not in surge
        assert "heal" not in surge
        assert sentence(made(NASTY["nobody"])).endswith("Nobody sent a request meanwhile.")
        assert sentence(made(NASTY["no-fault"])) == "The drill ended before the fault."

    @pytest.mark.parametrize(
        ("settled", "recovery", "words"),
        [
            (0.0, 0.0, "traffic never stirred. All was as before the fault from the heal on."),
            (0.4, 2.5, "traffic had settled after 0.4 s. All was as before the fault 2.5 s after the heal."),
            (
                "never",
                "never",
                "did not settle before the heal. All was not yet as before the fault when the drill ended.",
            ),
            (None, None, "whether traffic settled can't be said."),
        ],
    )
    def test_how_it_ended(self, settled: Value, recovery: Value, words: str) -> None:
        document = made(Story())
        figures = {**document.figures, "settled_s": settled, "recovery_s": recovery}
        assert words in sentence(replace(document, figures=figures))

    def test_what_was_broken_before_the_load_came_is_told_so(self) -> None:
        document = made(Story())
        faults = tuple(replace(fault, before_load=True) for fault in document.drill.faults)
        early = replace(document, drill=replace(document.drill, faults=faults))
        assert sentence(early).startswith(
            "Before the first user came, eu-west was killed; with users there, it was healed."
        )
        assert "seconds from the steady state" in text_of(page(early))

    @pytest.mark.parametrize("kind", FaultKind)
    def test_every_fault_has_words(self, kind: FaultKind) -> None:
        words = sentence(made(Story(fault=kind)))
        assert kind is FaultKind.NONE or "eu-west" in words

    @pytest.mark.parametrize(
        ("share", "text"),
        [
            (1.0, "100"),
            (0.0, "0"),
            (0.999, "99.9"),
            (0.9997, "99.97"),
            (0.00001, "0.001"),
            (0.99999999, "> 99.9999"),
        ],
    )
    def test_one_failure_in_many_is_never_rounded_away(self, share: float, text: str) -> None:
        assert percent(share) == text

    def test_figures_with_their_units(self) -> None:
        cases: list[tuple[Value, str, str]] = [
            (None, "s", "\u2013"), ("never", "s", "never"), (0.4234, "s", "0.42 s"), (12.0, "s", "12 s"),
            (0.5, "share", "50 %"), (1.333, "ratio", "1.33"), (12.34, "requests/s", "12.3/s"),
            (1200.0, "requests", "1,200"), (-3.0, "attempts", "\u22123"),
        ]  # fmt: skip
        assert [said(seen, unit) for seen, unit, _ in cases] == [text for _, _, text in cases]
        assert [milliseconds(seen) for seen in (None, "never", 0.01234, 1.2)] == [
            "\u2013", "never", "12.3 ms", "1,200 ms",
        ]  # fmt: skip

    def test_the_command_that_runs_it_again(self) -> None:
        document = made(Story(without="failover"))
        setting = replace(document.setting, short=True, rate=12.5)
        assert again(replace(document, setting=setting)) == (
            "atoll drill region-loss --short --rate 12.5 --without failover"
        )


class TestSections:
    def test_users_of_both_ways_are_told_apart_and_exposure_is_told(self) -> None:
        words = text_of(page(made(Story(kinds=("refused",), ways=(Way.ENTRY, Way.DNS)))))
        assert "behind the entry" in words
        assert "following DNS" in words
        assert re.search(r"In this drill \d+ of their requests failed, over [\d.]+ s\.", words)
        calm = text_of(page(made(Story(ways=(Way.ENTRY, Way.DNS)))))
        assert "In this drill none of their requests failed." in calm
        assert "following DNS" not in text_of(page(made(Story())))

    def test_at_the_top_one_way_never_speaks_for_the_other(self) -> None:
        """Errors of users that follow DNS are no errors of those behind the entry, and no success hides them."""
        document = made(Story(kinds=("refused",), ways=(Way.ENTRY, Way.DNS)))
        figures: dict[str, Value] = {**document.figures}
        figures |= {"during.entry.errors": 0.0, "after.entry.errors": 0.0, "entry.last_error_s": 0.0}
        figures |= {"during.dns.errors": 25.0, "after.dns.errors": 1.0, "dns.last_error_s": 9.5}
        told = replace(document, figures=figures)
        assert re.search(r"Behind the entry none of [\d,]+ requests from then on failed; ", sentence(told))
        assert re.search(
            r"Of users that follow DNS 26 of [\d,]+ requests from then on failed, the last one 9\.5 s",
            sentence(told),
        )
        words = text_of(page(told))
        assert "none \u00b7 9.5 s" in words
        assert "0 \u00b7 26" in words
        assert "behind the entry \u00b7 following DNS, after the fault, up to the heal" in words

    def test_what_is_expected_of_one_way_stands_beside_the_figure_by_its_name(self) -> None:
        expected = (Expectation("entry.settled_s", at_most=1.0),)
        words = text_of(page(made(Story(ways=(Way.ENTRY, Way.DNS), expectations=expected))))
        assert "\u2713 entry.settled_s at most 1 s" in words

    def test_a_mechanism_that_was_turned_off_is_said_at_the_top(self) -> None:
        words = text_of(page(made(Story(without="failover"))))
        assert words.index("Run without failover") < words.index("Expectations")

    def test_beside_an_earlier_run(self) -> None:
        old, new = made(Story(seed=3)), made(Story(kinds=("refused",), ways=(Way.DNS,), rate=25.0))
        words = text_of(page(new, compare(old, new)))
        assert "Beside the run of 2026-11-21 20:00:00 UTC" in words
        assert "Then passed, now failed." in words
        assert "another rate: 20 visits a second, then 25" in words
        assert "\u2717 worse" in words
        assert "No figure got better or worse" in text_of(page(old, compare(old, old)))
        assert "Beside the run" not in text_of(page(old))

    def test_a_report_that_was_read_again_gives_the_same_page(self) -> None:
        document = made(NASTY["failed"])
        assert page(DRILL.validate_json(DRILL.dump_json(document))) == page(document)

    def test_a_drill_without_expectations_says_so(self) -> None:
        document = made(Story(expectations=()))
        bare = replace(document, verdict=replace(document.verdict, expectations=()))
        assert "This drill expects nothing" in text_of(page(bare))

    def test_an_expectation_that_can_not_be_judged(self) -> None:
        words = text_of(
            page(
                made(Story(expectations=(Expectation("autoscaling.reaction_s", at_most=15),), samples=False))
            )
        )
        assert "? can't be said" in words
        assert "at most 15 s" in words

    def test_light_dark_paper_and_narrow_screens_are_provided_for(self) -> None:
        style = next(parsed(page(made(Story()))).iter("style")).text or ""
        for wanted in ("prefers-color-scheme:dark", "@media print", "max-width:560px"):
            assert wanted in style
        classes = set(re.findall(r'class="([a-z0-9 -]+)"', page(made(NASTY["failed"]))))
        shown = {name for names in classes for name in names.split()}
        assert shown - set(re.findall(r"\.([a-z][a-z0-9-]*)", style)) <= {"stacked", "failed", "unknown"}
