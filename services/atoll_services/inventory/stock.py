"""The stock of one article and its reservations, as one value. Knows neither HTTP nor Ray nor the state.

A reservation's name lives in the same value as the number that it takes from: one change of one register makes both,
so no failure comes between them, and whoever repeats the change, however much later, finds the name and takes nothing
twice. (The register's own memory of operations ends after 64 further changes.)

    (none) --reserve--> held --sell--> sold
       |                 |               |
       +--release/lapse--+----release----+--> released

A release of what was never reserved leaves the name as released: a reservation that was overtaken by its release, on
a slow way or in a frozen process, is refused. Sold and released names are forgotten `REMEMBERED_S` after they became
so; held ones never. One that is held for `HELD_S` is *overdue*: whoever finds too little left is told of those, and
ends them, with whatever they were held for (`checkout/abandoned.py`). They don't lapse by themselves: what they were
held for may have been paid.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

REMEMBERED_S = 120.0
"""Eight times the longest request of this shop: nobody works on one after its deadline, so nobody comes later."""
HELD_S = 600.0
"""Longer than anybody goes on with a purchase without being asked to."""
MAX_RESERVATIONS = 2000
"""Of an article, held and remembered: some 200 KB in every change of its register."""


class ReservationState(StrEnum):
    HELD = "held"
    SOLD = "sold"
    RELEASED = "released"


class StockRefused(Exception):
    """The stock is as it was; `kind` is for programs, the text for people."""

    kind: ClassVar[str] = "refused"


class NoRoom(StockRefused):
    """It may do once others' reservations are over."""

    def __init__(self, detail: str, overdue: Sequence[str]) -> None:
        super().__init__(detail)
        self.overdue = overdue
        """Names that have been held for too long."""


class OutOfStock(NoRoom):
    kind = "out-of-stock"


class AlreadyReleased(StockRefused):
    """The reservation is over: its name can't be used again."""

    kind = "already-released"


class OtherQuantity(StockRefused):
    """The name stands for a reservation of another quantity."""

    kind = "other-quantity"


class UnknownReservation(StockRefused):
    kind = "unknown-reservation"


class TooManyReservations(NoRoom):
    kind = "too-many-reservations"


class Reserved(StockRefused):
    """There can't be fewer than are held."""

    kind = "reserved"


class Reservation(BaseModel):
    """So many of an article, under a name."""

    model_config = ConfigDict(frozen=True)

    quantity: int
    state: ReservationState = ReservationState.HELD
    since: float
    """When it came into this state, seconds of Unix time."""


class Stock(BaseModel):
    """All that is known of an article. Each change returns another stock, or raises `StockRefused`."""

    model_config = ConfigDict(frozen=True)
    schema_version: ClassVar[int] = 1

    on_hand: int = 0
    """In the warehouse, held ones included."""
    reservations: Mapping[str, Reservation] = {}

    @property
    def held(self) -> int:
        return sum(one.quantity for one in self.reservations.values() if one.state is ReservationState.HELD)

    @property
    def available(self) -> int:
        """What can still be reserved."""
        return self.on_hand - self.held

    def overdue(self, now: float) -> list[str]:
        """Names that have been held for `HELD_S` or longer, the longest first."""
        held = [
            (one.since, name)
            for name, one in self.reservations.items()
            if one.state is ReservationState.HELD and now - one.since >= HELD_S
        ]
        return [name for _, name in sorted(held)]

    def counted(self, on_hand: int) -> "Stock":
        """After somebody has counted what is in the warehouse."""
        if on_hand < self.held:
            raise Reserved(f"{self.held} are reserved, so there can't be {on_hand}; release some first")
        return self.model_copy(update={"on_hand": on_hand})

    def reserve(self, name: str, quantity: int, now: float) -> "Stock":
        """Holds some under a name; a name that holds them already changes nothing."""
        known = self.reservations.get(name)
        if known is not None:
            if known.state is ReservationState.RELEASED:
                raise AlreadyReleased("this reservation was released; take another name for a new one")
            if known.quantity != quantity:
                raise OtherQuantity(f"this reservation is of {known.quantity}, not of {quantity}")
            return self
        if quantity > self.available:
            raise OutOfStock(f"{quantity} are wanted and {self.available} are available", self.overdue(now))
        return self._with(name, Reservation(quantity=quantity, since=now), self.on_hand, now)

    def sell(self, name: str, now: float) -> "Stock":
        """Takes what is held under a name out of the warehouse."""
        known = self.reservations.get(name)
        if known is None:
            raise UnknownReservation("there is no such reservation, or it was settled long ago")
        if known.state is ReservationState.RELEASED:
            raise AlreadyReleased("this reservation was released")
        if known.state is ReservationState.SOLD:
            return self
        sold = Reservation(quantity=known.quantity, state=ReservationState.SOLD, since=now)
        return self._with(name, sold, self.on_hand - known.quantity, now)

    def release(self, name: str, now: float) -> "Stock":
        """Makes what a name holds available again, and what it has sold; the name is used up, known or not."""
        known = self.reservations.get(name)
        if known is not None and known.state is ReservationState.RELEASED:
            return self
        back = known.quantity if known is not None and known.state is ReservationState.SOLD else 0
        quantity = 0 if known is None else known.quantity
        released = Reservation(quantity=quantity, state=ReservationState.RELEASED, since=now)
        return self._with(name, released, self.on_hand + back, now)

    def lapse(self, name: str, now: float) -> "Stock":
        """As `release`, of what is held alone."""
        known = self.reservations.get(name)
        held = known is not None and known.state is ReservationState.HELD
        return self.release(name, now) if held else self

    def _with(self, name: str, reservation: Reservation, on_hand: int, now: float) -> "Stock":
        kept = {
            name: one
            for name, one in self.reservations.items()
            if one.state is ReservationState.HELD or now - one.since < REMEMBERED_S
        }
        if name not in kept and len(kept) >= MAX_RESERVATIONS:
            raise TooManyReservations(
                f"{len(kept)} reservations of this article are held or remembered; try again in two minutes",
                self.overdue(now),
            )
        return Stock(on_hand=on_hand, reservations={**kept, name: reservation})
