import re
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.drill_pages import Story, made, record
from tests.unit.test_drill_page import boxes, outside, overlapping

from loadtests.drills.charts import Curve, CurvePoint, capacity
from loadtests.drills.charts.data import Bin, Event, merged
from loadtests.drills.charts.errors import kinds
from loadtests.drills.charts.frame import Frame
from loadtests.drills.charts.lanes import LANES, ROWS, arranged, when
from loadtests.drills.charts.panel import tick_words
from loadtests.drills.page.view import picture
from loadtests.drills.record import MarkKind, Way
from loadtests.drills.scenario import Durations

FRAME = Frame(960, -20, 40, 70)
counts = st.dictionaries(st.sampled_from(["eu", "us", "ap"]), st.integers(0, 50))
latencies = st.none() | st.floats(0.1, 1e5)


def bins(of: list[tuple[dict[str, int], dict[str, int], float | None, float | None]]) -> list[Bin]:
    return [Bin(float(at), at + 1.0, *one) for at, one in enumerate(of)]


class TestData:
    @given(st.lists(st.tuples(counts, counts, latencies, latencies), min_size=1), st.integers(1, 9))
    def test_putting_bins_together_loses_no_request_and_no_peak(
        self, of: list[tuple[dict[str, int], dict[str, int], float | None, float | None]], each: int
    ) -> None:
        fine = bins(of)
        coarse = merged(fine, each)
        assert len(coarse) == -(-len(fine) // each)
        for region in ("eu", "us", "ap"):
            asked = sum(one.answers.get(region, 0) for one in fine)
            kept = sum(one.answers.get(region, 0) * (one.end_s - one.begin_s) for one in coarse)
            assert kept == pytest.approx(asked)
        assert sum(sum(one.errors.values()) for one in coarse) == sum(
            sum(one.errors.values()) for one in fine
        )
        highest = [
            max((one.p99_ms for one in part if one.p99_ms is not None), default=None)
            for part in (fine, coarse)
        ]
        assert highest[0] == highest[1]

    def test_a_picture_has_every_answer_of_its_record(self) -> None:
        story = Story(kinds=("refused",), ways=(Way.ENTRY, Way.DNS))
        seen, drawn = record(story), picture(made(story))
        for region in story.regions:
            answers = sum(one.region == region and not one.failed for one in seen.requests)
            assert answers == pytest.approx(
                sum(one.answers.get(region, 0) * (one.end_s - one.begin_s) for one in drawn.bins)
            )
        assert sum(one.errors.get("refused", 0) for one in drawn.bins) == sum(
            one.failed for one in seen.requests
        )
        assert drawn.begin_s == pytest.approx(-20.13)
        assert drawn.heal_s == pytest.approx(40.0)

    def test_the_last_moment_is_no_bin_of_its_own(self) -> None:
        """Few requests in a tenth of a second are no rate."""
        for recovery_s, count in ((20.0, 50), (20.5, 51)):
            drawn = picture(made(Story(durations=Durations(10.0, 20.0, recovery_s))))
            assert len(drawn.bins) == count
            assert drawn.bins[-1].end_s == pytest.approx(drawn.end_s)

    def test_where_users_came_both_ways_their_moments_are_told_apart(self) -> None:
        told = [
            one.text for one in picture(made(Story(kinds=("refused",), ways=(Way.ENTRY, Way.DNS)))).events
        ]
        assert "last error behind the entry" in told
        assert "last error of users that follow DNS" in told
        assert "last error" in [one.text for one in picture(made(Story(kinds=("refused",)))).events]

    def test_what_nobody_told_of_replicas_is_a_gap(self) -> None:
        assert picture(made(Story(samples=False))).replicas == {}


class TestErrors:
    def test_as_many_kinds_as_colours_have_one_each(self) -> None:
        found = kinds(Counter({f"kind-{number}": 10 - number for number in range(7)}))
        assert [members for _, members in found] == [[f"kind-{number}"] for number in range(7)]

    def test_further_kinds_share_the_last_and_none_is_lost(self) -> None:
        totals = Counter({f"kind-{number}": 1 + number for number in range(12)}) + Counter({"none": 0})
        found = kinds(totals)
        assert len(found) == 7
        assert found[0] == ("kind-11", ["kind-11"])
        assert found[-1][0] == "6 other kinds"
        assert sorted(kind for _, members in found for kind in members) == sorted(totals)


class TestLanes:
    @given(
        st.lists(st.tuples(st.floats(-20, 70), st.text(max_size=80)), min_size=1, max_size=80),
        st.sampled_from([370.0, 620.0, 960.0]),
    )
    def test_every_event_is_told_once_in_few_enough_rows(
        self, of: list[tuple[float, str]], width: float
    ) -> None:
        events = sorted((Event(at_s, MarkKind.DECISION, text) for at_s, text in of), key=lambda one: one.at_s)
        told = arranged(Frame(width, -20, 40, 70), LANES[1], events)
        assert Counter(one for group in told for one in group.events) == Counter(events)
        crowd = max(sum(one.begin <= other.begin < one.end for one in told) for other in told)
        assert crowd <= ROWS
        assert all(one.begin >= -0.1 and one.end <= width + 0.1 for one in told)

    def test_a_few_events_keep_their_words(self) -> None:
        events = [Event(0.2 * number, MarkKind.DECISION, f"decision {number}") for number in range(6)]
        told = arranged(FRAME, LANES[1], events)
        assert [one.text for one in told] == [f"{when([one])}: {one.text}" for one in events]

    def test_thirty_within_a_second_are_told_of_together(self) -> None:
        events = [Event(number / 30, MarkKind.DECISION, f"decision {number}") for number in range(30)]
        told = arranged(FRAME, LANES[1], events)
        assert len(told) < 8
        assert re.match(r"0\.0 to 0\.\d s: \d+ decisions, first decision 0$", told[0].text)

    def test_at_the_end_words_stand_left_of_their_sign(self) -> None:
        told = arranged(FRAME, LANES[1], [Event(69.9, MarkKind.DECISION, "a decision at the very end")])
        assert told[0].leftwards


class TestFrame:
    def test_long_drills_are_drawn_with_bins_wide_enough_to_be_seen(self) -> None:
        assert FRAME.each(90) == 1
        for count in (600, 3600, 86400):
            drawn = -(-count // FRAME.each(count))
            assert (FRAME.right - FRAME.left) / drawn >= 2.9

    @pytest.mark.parametrize(
        ("tick", "words"),
        [(0, "0"), (0.5, "0.5"), (1000, "1,000"), (20000, "20k"), (500000, "500k"), (2e6, "2M")],
    )
    def test_ticks_fit_in_their_margin(self, tick: float, words: str) -> None:
        assert tick_words(tick) == words

    def test_an_axis_counts_in_one_unit(self) -> None:
        assert [tick_words(tick, 20000) for tick in (500, 2000, 5000, 20000)] == ["500", "2k", "5k", "20k"]


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.replace(' xmlns="http://www.w3.org/2000/svg"', ""))


class TestCapacity:
    ALONE = Curve("local region alone", [CurvePoint(r, 20 + r, r < 42) for r in (10, 20, 40, 45, 60)], 42.0)
    SPILL = Curve("with spill", [CurvePoint(r, 25 + r / 2, r < 105) for r in (10, 40, 80, 100, 120)], 104.5)

    def test_limits_and_the_objective_are_in_words(self) -> None:
        drawn = parsed(capacity([self.ALONE, self.SPILL], 90.0))
        words = [text for text, _ in boxes(drawn)]
        assert "local region alone: objectives hold up to 42/s" in words
        assert "local region alone 42/s" in words
        assert "with spill 104/s" in words
        assert "objective: p99 90 ms at most" in words
        assert "requests a second" in words
        assert "with spill: objectives hold up to 104/s" in (drawn.findtext("title") or "")

    def test_where_the_machine_ended_more_may_be_carried(self) -> None:
        drawn = parsed(capacity([replace(self.ALONE, at_least=True)], 90.0))
        words = [text for text, _ in boxes(drawn)]
        assert "local region alone: at least 42/s, where the machine ends" in words
        assert "local region alone \u2265 42/s" in words

    def test_what_held_is_filled_and_what_did_not_is_hollow(self) -> None:
        fills = [circle.attrib["fill"] for circle in parsed(capacity([self.ALONE], None)).iter("circle")]
        assert [fill.startswith("#") for fill in fills] == [True, True, True, False, False]

    def test_a_rate_without_an_answer_is_a_cross(self) -> None:
        drawn = parsed(capacity([Curve("a", [CurvePoint(10, None, held=False)], None)], None))
        assert any("no answer" in (title.text or "") for title in drawn.iter("title"))

    @given(
        st.lists(
            st.builds(
                Curve,
                st.text(max_size=90),
                st.lists(
                    st.builds(
                        CurvePoint,
                        st.floats(0, 1e5),
                        st.none() | st.just(0.0) | st.floats(1e-3, 1e6),
                        st.booleans(),
                    ),
                    max_size=9,
                ),
                st.none() | st.floats(0, 1e5),
                st.booleans(),
            ),
            max_size=4,
        ),
        st.none() | st.floats(1, 1e5),
        st.sampled_from([370.0, 760.0]),
    )
    def test_no_words_lie_over_others(self, curves: list[Curve], limit_ms: float | None, wide: float) -> None:
        drawn = parsed(capacity(curves, limit_ms, wide=wide))
        assert list(overlapping(drawn)) == []
        assert list(outside(drawn)) == []
