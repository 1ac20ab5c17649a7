"""The stock of an article: never below nothing, and every reservation counted once, in whatever order things come."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll_services.inventory import stock as module
from atoll_services.inventory.stock import (
    REMEMBERED_S,
    AlreadyReleased,
    OtherQuantity,
    OutOfStock,
    ReservationState,
    Reserved,
    Stock,
    StockRefused,
    TooManyReservations,
    UnknownReservation,
)

NAMES = ("a", "b", "c")


def test_a_reservation_is_made_once_and_sold_once() -> None:
    stock = Stock(on_hand=5).reserve("a", 2, 1.0)
    assert (stock.on_hand, stock.held, stock.available) == (5, 2, 3)
    assert stock.reserve("a", 2, 2.0) == stock
    sold = stock.sell("a", 3.0)
    assert (sold.on_hand, sold.held, sold.available) == (3, 0, 3)
    assert sold.sell("a", 4.0) == sold.reserve("a", 2, 4.0) == sold


def test_what_can_not_be_is_refused_and_says_why() -> None:
    stock = Stock(on_hand=2).reserve("a", 1, 0.0)
    with pytest.raises(OutOfStock, match="2 are wanted and 1 are available"):
        stock.reserve("b", 2, 0.0)
    with pytest.raises(OtherQuantity, match="is of 1, not of 2"):
        stock.reserve("a", 2, 0.0)
    with pytest.raises(UnknownReservation):
        stock.sell("b", 0.0)
    with pytest.raises(Reserved, match="1 are reserved"):
        stock.counted(0)
    assert stock.counted(1).available == 0


def test_a_reservation_that_its_release_has_overtaken_is_refused() -> None:
    stock = Stock(on_hand=2).release("a", 0.0)
    with pytest.raises(AlreadyReleased):
        stock.reserve("a", 1, 1.0)
    with pytest.raises(AlreadyReleased):
        stock.sell("a", 1.0)
    assert stock.available == 2


def test_a_release_gives_back_what_was_sold() -> None:
    stock = Stock(on_hand=2).reserve("a", 1, 0.0).sell("a", 0.0).release("a", 0.0)
    assert stock.available == 2
    assert stock.release("a", 1.0) == stock


def test_settled_names_are_forgotten_after_their_time_and_held_ones_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stock = Stock(on_hand=9).reserve("held", 1, 0.0).reserve("sold", 1, 0.0).sell("sold", 0.0)
    stock = stock.reserve("early", 1, REMEMBERED_S - 1)
    assert set(stock.reservations) == {"held", "sold", "early"}
    stock = stock.reserve("late", 1, REMEMBERED_S)
    assert set(stock.reservations) == {"held", "early", "late"}
    monkeypatch.setattr(module, "MAX_RESERVATIONS", 3)
    with pytest.raises(TooManyReservations):
        stock.reserve("one more", 1, REMEMBERED_S)
    assert stock.sell("held", REMEMBERED_S).on_hand == 7, "what is known already finds its place"


@dataclass
class Books:
    """What should be, counted in the plainest way."""

    on_hand: int
    of: dict[str, ReservationState] = field(default_factory=dict)
    quantities: dict[str, int] = field(default_factory=dict)

    def left(self) -> int:
        gone = (ReservationState.HELD, ReservationState.SOLD)
        return self.on_hand - sum(self.quantities[name] for name, state in self.of.items() if state in gone)


operations = st.lists(
    st.tuples(st.sampled_from(("reserve", "sell", "release")), st.sampled_from(NAMES), st.integers(1, 3)),
    max_size=20,
)


@given(st.integers(0, 6), operations)
def test_nothing_is_ever_oversold_or_lost(on_hand: int, asked: list[tuple[str, str, int]]) -> None:
    stock, books = Stock(on_hand=on_hand), Books(on_hand)
    for operation, name, quantity in asked:
        try:
            match operation:
                case "reserve":
                    stock = stock.reserve(name, quantity, 0.0)
                    books.quantities.setdefault(name, quantity)
                    books.of.setdefault(name, ReservationState.HELD)
                case "sell":
                    stock = stock.sell(name, 0.0)
                    books.of[name] = ReservationState.SOLD
                case _:
                    stock = stock.release(name, 0.0)
                    books.quantities.setdefault(name, 0)
                    books.of[name] = ReservationState.RELEASED
        except StockRefused:
            continue
        assert stock.available == books.left() >= 0
        assert _states(stock.reservations) == books.of


def _states(reservations: Mapping[str, module.Reservation]) -> dict[str, ReservationState]:
    return {name: one.state for name, one in reservations.items()}
