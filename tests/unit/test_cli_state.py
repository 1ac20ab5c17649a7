"""`atoll state` and the state's part of `atoll status`: what people are shown, and what is put side by side."""

import io
from collections.abc import Callable
from typing import TypeVar

import pytest
from rich.console import Console
from tests.unit import state_reports as made

from atoll.agent.inspection import (
    CellsAnswer,
    Comparison,
    KeyKind,
    KeysAnswer,
    KeyView,
    differing,
    together,
    verdict,
)
from atoll.cell.state_report import PeerLag
from atoll.cli import output, render_state
from atoll.cli.state_documents import GetDocument

T = TypeVar("T")


def shown(print_it: Callable[[Console, T], None], document: T) -> str:
    screen = output.console(io.StringIO())
    print_it(screen, document)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def row(text: str, *parts: str) -> bool:
    return any(all(part in line for part in parts) for line in text.splitlines())


def test_get_has_regions_side_by_side_and_says_where_they_differ() -> None:
    text = shown(render_state.print_get, made.get_document())
    assert row(text, "map", "b", "eu-west", "0198f1a2b3c40000", "eu-west.1700000000", "5", "j2")
    assert row(text, "map", "b", "us-east", "4", "(removed)")
    assert "The regions differ in: map b." in text
    assert "mars gave no answer: frozen" in text


def test_get_shows_a_long_value_once_and_leaves_its_other_columns_whole() -> None:
    value = f'm1:{{"on_hand":{"9" * 300}}}'
    one = CellsAnswer((made.cell(value, field="", kind=KeyKind.STRONG),), 0)
    document = GetDocument("stock", "sku", {"ap-northeast": one, "us-east": one}, (), {})
    text = shown(render_state.print_get, document)
    assert row(text, "strong", "all", '{"on_hand":')
    assert text.count("m1:") == 1
    assert "Alike in ap-northeast, us-east." in text
    nothing = GetDocument("stock", "sku", {"us-east": CellsAnswer((), 0)}, (), {})
    assert shown(render_state.print_get, nothing) == "Nothing under 'sku' in stock: us-east.\n"


def test_keys_tell_who_lacks_them() -> None:
    text = shown(render_state.print_keys, made.keys_document())
    assert row(text, "map", "mine", "us-east")
    assert "raise --limit" in text


def test_conflicts_have_both_writes() -> None:
    text = shown(render_state.print_conflicts, made.conflicts_document())
    assert row(text, "eu-west", "carts", "mine", "sku", "eu-west.1:9", "us-east.1:3")
    assert "3 in carts" in text


def test_lag_is_a_matrix() -> None:
    text = shown(render_state.print_lag, made.lag_document())
    assert row(text, "eu-west", "0.4 s, p99 0.21 s, 7 operations", "93.0 s, no link")
    assert "us-east gave no answer: it is killed" in text


def test_lag_that_is_not_known_is_no_zero() -> None:
    peer = PeerLag(connected=True, staleness_s=None, p50_s=None, p99_s=None, behind=0)
    assert render_state.lag(peer) == "unknown"


def test_verify_and_repair_say_what_differs_and_what_to_do() -> None:
    text = shown(render_state.print_verify, made.verify_document())
    assert row(text, "carts", "eu-west", "us-east", "2 of 256 buckets differ")
    assert row(text, "eu-central", "can't be told", "there is no link")
    assert "atoll state repair" in text
    assert "longer --timeout" in shown(render_state.print_verify, made.verify_document(None))
    text = shown(render_state.print_repair, made.repair_document())
    assert "us-east has taken over what it lacked from eu-west." in text
    assert "eu-west lacked nothing." in text


def test_cells_differ_by_write_and_by_value_but_not_by_tombstones() -> None:
    one, two = made.cell("j1", field="a"), made.cell("j2", field="b")
    changed = made.cell("j3", field="b")
    assert differing((CellsAnswer((one, two), 0), CellsAnswer((one, two), 0))) == ()
    assert differing((CellsAnswer((one, two), 0), CellsAnswer((one, changed), 0))) == ("map b",)
    assert differing((CellsAnswer((one, two), 0), CellsAnswer((one,), 0))) == ("map b",)
    gone = made.cell(None, field="b", seq=9)
    assert differing((CellsAnswer((one, gone), 0), CellsAnswer((one,), 0))) == ()
    assert differing((CellsAnswer((one, two), 0), CellsAnswer((one, gone), 0))) == ("map b",)


def test_what_one_answer_leaves_out_is_no_difference() -> None:
    one, two = made.cell("j1", field="a"), made.cell("j2", field="b")
    assert differing((CellsAnswer((one, two), 0), CellsAnswer((one,), 7))) == ()


def test_keys_beyond_the_end_of_an_answer_are_not_said_to_be_missing() -> None:
    a, b, c = (KeyView(key, KeyKind.REGISTER) for key in "abc")
    found = together({"x": KeysAnswer((a, b), more=True), "y": KeysAnswer((a, c), more=False)})
    assert found == {a: ("x", "y"), b: ("x",)}


@pytest.mark.parametrize(
    ("buckets", "equal"),
    [((0, 0), True), ((0, 3), False), ((0, None), None), ((3, None), False), ((), None)],
)
def test_a_verdict_needs_all_and_a_difference_needs_one(
    buckets: tuple[int | None, ...], equal: bool | None
) -> None:
    assert verdict([Comparison("n", "a", "b", count) for count in buckets]) is equal
