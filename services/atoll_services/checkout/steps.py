"""What a purchase consists of: a reservation for each article, and a charge."""

from contextlib import suppress

from atoll.clock import Clock
from atoll_services.checkout.abandoned import Abandoned
from atoll_services.checkout.order import Reason
from atoll_services.checkout.payments import ChargeState, Payments
from atoll_services.checkout.saga import Attempt, Refused, Saga, Step
from atoll_services.inventory.inventory import Inventory
from atoll_services.inventory.stock import NoRoom, StockRefused, TooManyReservations, UnknownReservation

AT_ONCE = 5
"""So many abandoned purchases are ended before it is tried again: each costs some round trips."""


class Reserve:
    """Holds the articles; once the order is placed they leave the warehouse."""

    def __init__(self, inventory: Inventory, abandoned: Abandoned | None = None) -> None:
        """`abandoned` ends who has held them for too long, if there are too few."""
        self._inventory = inventory
        self._abandoned = abandoned

    async def do(self, attempt: Attempt) -> None:
        for sku, quantity in attempt.order.items.items():
            try:
                await self._hold(sku, attempt.name, quantity)
            except TooManyReservations:
                raise  # it passes: the order is left to the next attempt
            except StockRefused as refused:
                raise Refused(Reason(kind=refused.kind, detail=f"{sku}: {refused}")) from refused

    async def _hold(self, sku: str, name: str, quantity: int) -> None:
        while True:
            try:
                await self._inventory.reserve(sku, name, quantity)
            except NoRoom as full:
                if self._abandoned is None or not full.overdue:
                    raise
                await self._abandoned.end(sku, full.overdue[:AT_ONCE])
            else:
                return

    async def undo(self, attempt: Attempt) -> None:
        for sku in attempt.order.items:
            await self._inventory.release(sku, attempt.name)

    async def keep(self, attempt: Attempt) -> None:
        for sku in attempt.order.items:
            with suppress(UnknownReservation):  # sold by an earlier attempt, so long ago that it is forgotten
                await self._inventory.sell(sku, attempt.name)


class Pay:
    """Takes the money."""

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def do(self, attempt: Attempt) -> None:
        charge = await self._payments.charge(attempt.name, attempt.order.cents, attempt.card)
        if charge.state is ChargeState.DECLINED:
            raise Refused(Reason(kind="payment-declined", detail="the card was declined; try another one"))
        if charge.state is ChargeState.REFUNDED:
            raise Refused(Reason(kind="refunded", detail="this purchase was undone and its charge refunded"))

    async def undo(self, attempt: Attempt) -> None:
        await self._payments.refund(attempt.name, attempt.order.cents)

    async def keep(self, attempt: Attempt) -> None:
        """A charge is final as it is."""


def purchase_steps(clock: Clock | None = None) -> tuple[Step, ...]:
    """In the order in which they are done. `clock` is the system's unless given."""
    inventory, payments = Inventory(clock), Payments()
    ending = Saga((Reserve(inventory), Pay(payments)))
    return Reserve(inventory, Abandoned(inventory, ending)), Pay(payments)
