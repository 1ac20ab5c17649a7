import itertools
import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atoll.picture.labels import Box, box, inside, rows, shorten, width, wrap
from atoll.picture.markup import Markup, join, tag, words
from atoll.picture.palette import FAILURES, SERIES, Colour, series
from atoll.picture.path import area, line, stack, steps
from atoll.picture.scale import (
    Linear,
    Logarithmic,
    logarithmic_range,
    logarithmic_ticks,
    number,
    seconds,
    ticks,
    time_ticks,
    top,
    whole_ticks,
)
from atoll.picture.theme import THEME

values = st.floats(1e-6, 1e9)


class TestScale:
    def test_ends_stand_at_the_ends(self) -> None:
        assert [Linear(0, 10, 100, 0)(value) for value in (0, 5, 10)] == [100, 50, 0]
        assert [Logarithmic(1, 100, 0, 200)(value) for value in (0, 1, 10, 100)] == pytest.approx(
            [0, 0, 100, 200]
        )

    def test_a_range_of_nothing_stands_at_its_beginning(self) -> None:
        assert Linear(3, 3, 7, 9)(3) == 7
        assert Logarithmic(3, 3, 7, 9)(3) == 7

    @given(values, values, st.integers(2, 12))
    def test_ticks_are_round_and_within_and_not_too_many(self, one: float, other: float, most: int) -> None:
        low, high = sorted((one, other))
        assume(high - low > high * 1e-6)
        found = ticks(low, high, most)
        assert len(found) <= most
        slack = 1e-6 * (high - low)
        assert all(low - slack <= tick <= high + slack for tick in found)
        for step in (after - before for before, after in itertools.pairwise(found)):
            leading = step / 10 ** math.floor(math.log10(step * 1.0001))
            assert min(abs(leading - nice) for nice in (1, 2, 5)) < 1e-3

    @given(st.floats(0, 1e9), st.integers(2, 10))
    def test_an_axis_from_zero_ends_at_a_tick_that_is_high_enough(self, high: float, most: int) -> None:
        end = top(high, most)
        assert end >= high * (1 - 1e-9)
        assert ticks(0, end, most)[-1] == pytest.approx(end)

    @given(st.integers(0, 10**6))
    def test_counts_have_no_halves(self, high: int) -> None:
        assert all(tick == round(tick) for tick in whole_ticks(high, 4))

    @given(st.lists(values, min_size=1), st.integers(2, 8))
    def test_a_logarithmic_axis_holds_all_values_and_has_ticks(self, seen: list[float], most: int) -> None:
        low, high = logarithmic_range(seen)
        assert low <= max(min(seen), max(seen) / 1e6) * (1 + 1e-9)
        assert max(seen) <= high * (1 + 1e-9)
        assert high >= 10 * low * (1 - 1e-9)
        found = logarithmic_ticks(low, high, most)
        assert 1 <= len(found) <= most
        assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in found)

    def test_values_that_no_logarithm_has_are_left_out(self) -> None:
        assert logarithmic_range([]) == (1, 10)
        assert logarithmic_range([0.0, -1.0, math.inf, 3.0]) == (2, 20)
        assert logarithmic_ticks(10, 500, 6) == (10, 20, 50, 100, 200, 500)
        assert logarithmic_ticks(10, 500, 4) == (10, 30, 100, 300)

    @given(st.floats(-4000, 0), st.floats(1, 4000), st.integers(2, 12))
    def test_a_time_axis_has_the_fault_on_it(self, low: float, high: float, most: int) -> None:
        found = time_ticks(low, high, most)
        assert len(found) <= most
        assert 0.0 in found

    def test_words_of_ticks(self) -> None:
        assert [number(value) for value in (0, 0.25, 0.001, 12, 12.3, 1200, 123.4)] == [
            "0", "0.25", "0.001", "12", "12.3", "1,200", "123",
        ]  # fmt: skip
        assert seconds(-20, minutes=False) == "\u221220"
        assert [seconds(value, minutes=True) for value in (-90, 0, 3605)] == ["\u22121:30", "0:00", "60:05"]


class TestPath:
    def test_a_gap_breaks_a_line_and_a_lone_point_is_a_dot(self) -> None:
        assert line([(0, 1), (1, 2), (2, None), (3, 4)]) == "M0 1L1 2M3 4h0"
        assert line([(0, None)]) == ""

    def test_steps_hold_until_the_next_value(self) -> None:
        assert steps([(0, 5), (1, 5), (2, 7), (3, None), (4, 1)], 6) == "M0 5H2V7H3M4 1H6"

    def test_level_stretches_of_an_area_are_one_line(self) -> None:
        assert area([(0, 1), (1, 1), (2, 1)], [(0, 9), (2, 9)]) == "M0 1L2 1L2 9L0 9Z"
        assert area([], []) == ""

    @given(
        st.integers(0, 5).flatmap(
            lambda size: st.lists(st.lists(st.floats(0, 9), min_size=size, max_size=size))
        )
    )
    def test_layers_stand_on_each_other(self, layers: list[list[float]]) -> None:
        stacked = stack(layers)
        assert len(stacked) == len(layers)
        for layer, (low, high) in zip(layers, stacked, strict=True):
            assert [top - base for base, top in zip(low, high, strict=True)] == pytest.approx(layer)
        for (_, under), (over, _) in itertools.pairwise(stacked):
            assert under == over


class TestLabels:
    def test_boxes_that_touch_do_not_overlap(self) -> None:
        assert not Box(0, 0, 1, 1).overlaps(Box(1, 0, 2, 1))
        assert Box(0, 0, 1, 1).overlaps(Box(0.9, 0.9, 2, 2))

    def test_anchors(self) -> None:
        wide = width("word", 10)
        assert box("word", 100, 0, 10, "end").right == 100
        assert box("word", 100, 0, 10, "middle").left == 100 - wide / 2
        assert box("word", 100, 0, 10).left == 100

    @given(st.text(max_size=60), st.floats(0, 400))
    def test_what_is_shortened_fits_and_begins_alike(self, text: str, room: float) -> None:
        short = shorten(text, room, 11)
        assert width(short, 11) <= room or short == text == ""
        assert text.startswith(short.removesuffix("\u2026").rstrip())

    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30))))
    def test_no_row_has_two_at_one_place_and_there_are_as_few_rows_as_can_be(
        self, given_: list[tuple[float, float]]
    ) -> None:
        spans = sorted((begin, begin + wide) for begin, wide in given_)
        found = rows(spans)
        for row in set(found):
            mine = [span for span, of in zip(spans, found, strict=True) if of == row]
            assert all(before[1] <= after[0] for before, after in itertools.pairwise(mine))
        crowd = max((sum(b <= begin < e or b == begin for b, e in spans) for begin, _ in spans), default=0)
        assert len(set(found)) <= max(crowd, 0)

    @given(st.lists(st.floats(1, 80)), st.floats(80, 300))
    def test_a_legend_wraps_before_its_room_ends(self, widths: list[float], room: float) -> None:
        places = wrap(widths, room, 10)
        for wide, (_, left) in zip(widths, places, strict=True):
            assert left + wide <= room or left == 0
        boxes = [
            Box(left, row, left + wide, row + 1) for wide, (row, left) in zip(widths, places, strict=True)
        ]
        assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])

    def test_a_name_stands_where_a_layer_is_thickest(self) -> None:
        xs = [0.0, 10, 20, 30, 40, 50]
        assert inside(xs, [0, 0, 0, 0, 0, 0], [5, 5, 30, 30, 30, 5], 20, 16) == (30, 15)
        assert inside(xs, [0] * 6, [15] * 6, 20, 16) is None
        assert inside(xs, [0] * 6, [99] * 6, 51, 16) is None


class TestMarkup:
    @given(st.text(), st.text())
    def test_anything_comes_back_as_it_was(self, text: str, attribute: str) -> None:
        found = ET.fromstring(tag("p", tag("b", text), title=attribute))
        forbidden = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
        assert (found[0].text or "") == forbidden.sub("\ufffd", text).replace("\r\n", "\n").replace(
            "\r", "\n"
        )
        # What XML does to white space of attributes is its own: it makes each one a space.
        expected = re.sub("[\t\n\r]", " ", forbidden.sub("\ufffd", attribute).replace("\r\n", "\n"))
        assert found.attrib["title"] == expected

    def test_words_are_escaped_and_markup_is_not(self) -> None:
        assert join("<b>", tag("b", "&")) == "&lt;b&gt;<b>&amp;</b>"
        assert isinstance(words("x"), Markup)

    def test_names_and_values_of_attributes(self) -> None:
        made = tag("text", "a", x=1.26, y=2.0, text_anchor="end", class_="c", fill=None)
        assert made == '<text x="1.3" y="2" text-anchor="end" class="c">a</text>'
        assert tag("rect") == "<rect/>"
        assert tag("td") == "<td></td>"


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    full = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    channels = [int(full[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def simulated(colour: str, matrix: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """How a colour is seen with a colour vision deficiency (Machado, Oliveira, Fernandes, 2009)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return tuple(sum(weight * value for weight, value in zip(row, channels, strict=True)) for row in matrix)


DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
NORMAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class TestColours:
    @pytest.mark.parametrize("colour", [*SERIES, *FAILURES], ids=lambda colour: colour.fill)
    def test_words_on_a_fill_can_be_read(self, colour: Colour) -> None:
        assert contrast(colour.fill, colour.ink) >= 4.5

    @pytest.mark.parametrize("matrix", [NORMAL, DEUTERANOPIA, PROTANOPIA], ids=["normal", "deutan", "protan"])
    @pytest.mark.parametrize("colours", [SERIES[:8], FAILURES], ids=["series", "failures"])
    def test_neighbours_are_told_apart_whatever_colours_one_sees(
        self, colours: tuple[Colour, ...], matrix: tuple[tuple[float, ...], ...]
    ) -> None:
        for one, other in itertools.pairwise(colours):
            assert math.dist(simulated(one.fill, matrix), simulated(other.fill, matrix)) > 0.15, (one, other)

    @pytest.mark.parametrize("ground", ["ground", "soft"])
    def test_words_can_be_read_in_light_and_in_dark(self, ground: str) -> None:
        for colours in re.findall(r"--ground:[^}]*", THEME):
            known = dict(re.findall(r"--(\w+):(#[0-9a-f]+)", colours))
            for ink in ("ink", "quiet", "bad", "good", "warn"):
                assert contrast(known[ink], known[ground]) >= 4.5, (ink, known)

    def test_the_eleventh_is_the_first_again(self) -> None:
        assert series(len(SERIES)) == series(0)
