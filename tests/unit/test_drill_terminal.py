import io
from dataclasses import replace

import pytest
from rich.console import Console
from tests.unit.drill_pages import BEGIN_S, NASTY, Story, drill, made, record

from loadtests.drills.compare import compare
from loadtests.drills.conductor import Conductor, Course
from loadtests.drills.glance import Glance, glance
from loadtests.drills.record import Mark, MarkKind, Phases, Record, Way
from loadtests.drills.scenario import Drill
from loadtests.drills.terminal import BAR, Summary, bar, beside, line, live

STORY = Story(kinds=("refused",), ways=(Way.ENTRY, Way.DNS))
WHOLE = record(STORY)
DRILL = drill(STORY)


def until(seconds: float) -> Record:
    """What was seen so far, with the phases as a conductor gives them: what has not begun begins now."""
    now_s = BEGIN_S + seconds
    heal_s = min(WHOLE.phases.heal_s, now_s)
    return Record(
        Phases(BEGIN_S, min(WHOLE.phases.fault_s, heal_s), heal_s, now_s),
        tuple(one for one in WHOLE.requests if one.ended_s <= now_s),
        tuple(one for one in WHOLE.samples if one.at_s <= now_s),
        tuple(one for one in WHOLE.marks if one.at_s <= now_s),
    )


def course(seen: Record, of: Drill = DRILL) -> Course:
    """As the conductor of this drill has it."""
    conductor, now_s = Conductor(of, STORY.durations, BEGIN_S), seen.phases.end_s
    waiting = sorted(seen.requests, key=lambda one: one.ended_s)
    for at_s in sorted({min(at, now_s) for at in (WHOLE.phases.fault_s, WHOLE.phases.heal_s)} | {now_s}):
        conductor.saw(one for one in waiting if one.ended_s <= at_s)
        waiting = [one for one in waiting if one.ended_s > at_s]
        if at_s < now_s:
            conductor.step(at_s)
    return conductor.course(now_s)


def at_a_glance(seen: Record) -> Glance:
    return glance(seen, course(seen), DRILL)


def console(*, terminal: bool) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=120, markup=False, highlight=False, emoji=False,
        legacy_windows=False, color_system="standard" if terminal else None, _environ={},
    )  # fmt: skip


def output(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


class TestGlance:
    @pytest.mark.parametrize(
        ("seconds", "part", "remaining_s"),
        [
            (5, "steady state", 15),
            (19, "steady state", 1),
            (25.13, "fault", 35),
            (61.13, "recovery", 29),
            (95, "recovery", 0),
        ],
    )
    def test_part_and_what_is_left_of_it(self, seconds: float, part: str, remaining_s: float) -> None:
        seen = at_a_glance(until(seconds))
        assert seen.part == part
        assert seen.remaining_s == pytest.approx(remaining_s)

    def test_where_nothing_breaks_the_load_is_the_test(self) -> None:
        alone = replace(DRILL, faults=())
        assert glance(until(30), course(until(30), alone), alone).part == "load"
        assert at_a_glance(until(30)).part == "fault"

    def test_rates_and_latencies_are_of_the_last_seconds(self) -> None:
        seen = at_a_glance(until(18))
        latest = [one for one in WHOLE.requests if BEGIN_S + 13 < one.ended_s <= BEGIN_S + 18]
        assert seen.rate == pytest.approx(len(latest) / 5)
        assert seen.p99_s == max(one.seconds for one in latest)

    def test_errors_count_from_the_fault_on(self) -> None:
        seen = until(50)
        early = replace(seen.requests[0], error="refused")
        before, after = at_a_glance(seen), at_a_glance(replace(seen, requests=(early, *seen.requests[1:])))
        assert before.failed == after.failed == sum(one.failed for one in seen.requests) > 0

    def test_a_region_that_is_gone_stays_in_the_list(self) -> None:
        seen = at_a_glance(until(50))
        assert set(seen.shares) == set(STORY.regions)
        assert seen.shares["eu-west"] == 0.0
        assert sum(seen.shares.values()) == pytest.approx(1)
        assert seen.states["eu-west"] == "killed, 0 of 3 replicas"

    def test_nothing_at_all_is_no_error(self) -> None:
        empty = at_a_glance(Record(Phases(BEGIN_S, BEGIN_S, BEGIN_S, BEGIN_S)))
        assert (empty.rate, empty.p99_s, empty.shares, empty.busy) == (0.0, None, {}, None)
        assert "no answers" in line(empty)


class TestBar:
    @pytest.mark.parametrize("share", [-1, 0, 0.004, 0.3, 0.5, 0.999, 1, 7])
    def test_is_always_as_wide(self, share: float) -> None:
        assert len(bar(share)) == BAR

    def test_grows_with_its_share(self) -> None:
        assert bar(0).strip() == ""
        assert bar(1) == "\u2588" * BAR
        assert bar(0.5, 4) == "\u2588\u2588  "
        assert bar(1 / 32, 4) == "\u258f   "


class TestWithoutATerminal:
    def test_a_line_every_five_seconds_and_each_mark_once(self) -> None:
        plain = console(terminal=False)
        with Summary(plain, DRILL) as summary:
            for seconds in range(1, 91):
                summary.update(until(seconds), course(until(seconds)))
            summary.end(made(STORY))
        text = output(plain)
        assert len([one for one in text.splitlines() if " requests/s, " in one]) == 18
        assert text.count("eu-west is killed\n") == 1
        assert text.count("everything is healed\n") == 1
        assert text.count("is distrusted by") == 3
        assert "\x1b" not in text

    def test_a_mark_that_comes_late_is_told_all_the_same(self) -> None:
        plain = console(terminal=False)
        seen = until(30)
        late = Mark(BEGIN_S + 1, MarkKind.DECISION, "told late")
        with Summary(plain, DRILL) as summary:
            summary.update(seen, course(seen))
            summary.update(replace(seen, marks=(late, *seen.marks)), course(seen))
        assert output(plain).count("told late") == 1
        assert output(plain).count("eu-west is killed\n") == 1

    def test_what_is_waited_for_is_told_once(self) -> None:
        plain = console(terminal=False)
        with Summary(plain, DRILL) as summary:
            for why in ("eu-west is starting", "eu-west is starting", "eu-west runs 2 of quote, and wants 1"):
                summary.waits(why)
        assert output(plain).count("waiting: eu-west is starting\n") == 1
        assert output(plain).count("waiting: eu-west runs 2") == 1

    def test_beside_an_earlier_run(self) -> None:
        old, new = made(Story(seed=3)), made(Story(kinds=("refused",), ways=(Way.DNS,), rate=25.0))
        plain = console(terminal=False)
        for part in (*beside(compare(old, new)), *beside(compare(old, old))):
            plain.print(part)
        said = output(plain)
        assert "Beside the run of 2026-11-21 20:00:00 UTC\nThen passed, now failed." in said
        assert "- another rate: 20 visits a second, then 25" in said
        assert "during.errors" in said and "\u2717 worse" in said
        assert said.endswith("No figure got better or worse by more than chance explains.\n")

    def test_the_verdict_is_a_table(self) -> None:
        plain = console(terminal=False)
        document = made(STORY)
        with Summary(plain, DRILL) as summary:
            summary.end(document)
        text = output(plain)
        assert "\u2717 Failed  region-loss" in text
        for one in document.verdict.expectations:
            assert one.figure in text
        assert "\u2717 not held" in text
        assert "at most 1 s" in text

    @pytest.mark.parametrize("name", NASTY)
    def test_every_story_can_be_told(self, name: str) -> None:
        plain = console(terminal=False)
        seen = record(NASTY[name])
        with Summary(plain, drill(NASTY[name])) as summary:
            summary.update(seen, course(seen))
            summary.end(made(NASTY[name]))
        assert "Expected" in output(plain)


HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


class TestOnATerminal:
    def test_shows_parts_regions_and_budget(self) -> None:
        wide = console(terminal=True)
        wide.print(live(at_a_glance(until(50))))
        text = output(wide)
        for words in (
            "fault",
            "10 s left",
            "killed, 0 of 3 replicas",
            "failed of 100,000 that may",
            "processor",
        ):
            assert words in text

    def test_narrow_terminals_cut_lines_rather_than_wrap_them(self) -> None:
        narrow = Console(file=io.StringIO(), force_terminal=True, width=40, color_system=None, _environ={})
        narrow.print(live(at_a_glance(until(50))))
        assert len(output(narrow).splitlines()) == 5

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
    def test_whatever_ends_it_the_cursor_is_back(self, error: type[BaseException]) -> None:
        wide = console(terminal=True)

        def ends() -> None:
            with Summary(wide, DRILL) as summary:
                summary.update(until(30), course(until(30)))
                assert output(wide).rfind(HIDDEN) > output(wide).rfind(SHOWN)  # the control: it was hidden
                raise error

        with pytest.raises(error):
            ends()
        assert output(wide).rfind(SHOWN) > output(wide).rfind(HIDDEN)

    def test_the_verdict_stands_in_the_place_of_what_was_live(self) -> None:
        wide = console(terminal=True)
        with Summary(wide, DRILL) as summary:
            summary.update(until(90), course(until(90)))
            summary.end(made(STORY))
            shown = output(wide)
        assert output(wide) == shown  # the end of the block adds nothing
        assert shown.rfind("Failed") > shown.rfind(SHOWN)
