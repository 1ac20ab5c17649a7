"""A purchase as a saga: steps that are done one after the other, and undone if one of them is refused.

What makes it happen once, whoever dies when, and however often and wherever it is sent:

- Every step is keyed by the purchase: doing it again does nothing.
- Doing it after it was undone is refused: an attempt that was overtaken does no harm when it wakes up.
- The order, in a strong register, is decided once, and before anything is undone or kept for good.

So nobody needs to know how far an attempt has come: the next one, in any region, does everything again. An attempt that
finds no majority ends, and leaves the order as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from atoll import state
from atoll_services.checkout.order import Order, Phase, Reason
from atoll_services.checkout.register import change

NAMESPACE = "orders"


class Refused(Exception):
    """A step can't be done, and trying again won't help."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.detail)
        self.reason = reason


class OtherPurchase(Exception):
    """The name stands for another purchase."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the steps of one attempt are given."""

    name: str
    """Of the purchase: the same for every attempt, and for no other purchase."""
    order: Order
    card: str


class Step(Protocol):
    """Everything may be repeated, and overtaken. Whatever else is raised leaves the order to the next attempt."""

    async def do(self, attempt: Attempt) -> None:
        """Raises `Refused`, also once it was undone."""
        ...

    async def undo(self, attempt: Attempt) -> None:
        """Takes back what was done, and sees to it that it is never done."""
        ...

    async def keep(self, attempt: Attempt) -> None:
        """The order is placed: nobody will undo it."""
        ...


class Saga:
    """Carries purchases out by `steps`."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = tuple(steps)
        self._orders = state.strong(NAMESPACE, Order)

    async def order(self, name: str) -> Order | None:
        """What is known of a purchase."""
        found = await self._orders.get(name)
        return None if found is None else found.value

    async def carry_out(self, name: str, wanted: Order, card: str) -> Order:
        """Begins a purchase or goes on with it; the closed order, placed or failed.

        Raises `OtherPurchase`; `state.Unavailable` and `state.Unknown` leave it to the next attempt.
        """
        found = await change(self._orders, name, None, lambda order: order or wanted)
        if found.value.fingerprint != wanted.fingerprint:
            raise OtherPurchase
        attempt = Attempt(name, found.value, card)
        if found.value.phase is Phase.PENDING:
            refusal = await self._do(attempt)
            decide = Order.place if refusal is None else lambda order: order.fail(refusal)
            found = await change(self._orders, name, found, lambda order: decide(order or wanted))
        return await self._carry_through(attempt, found)

    async def abandon(self, name: str, reason: Reason) -> bool:
        """Ends a purchase that nobody goes on with: fails it, unless it is decided, and carries that through.

        False if there was nothing left to do. Raises `state.Unavailable` and `state.Unknown`; do it again then.
        """
        found = await self._orders.get(name)
        if found is None or found.value.closed:
            return False
        known = found.value
        found = await change(self._orders, name, found, lambda order: (order or known).fail(reason))
        await self._carry_through(Attempt(name, known, card=""), found)
        return True

    async def _carry_through(self, attempt: Attempt, found: state.Found[Order]) -> Order:
        """Keeps, or undoes, everything that was done for a decided order; the closed order."""
        decided = found.value
        if decided.closed:
            return decided
        if decided.phase is Phase.PLACED:
            for step in self._steps:
                await step.keep(attempt)
        else:
            for step in reversed(self._steps):
                await step.undo(attempt)
        closed = await change(self._orders, attempt.name, found, lambda order: (order or decided).close())
        return closed.value

    async def _do(self, attempt: Attempt) -> Reason | None:
        """Why a step was refused; None if all are done."""
        try:
            for step in self._steps:
                await step.do(attempt)
        except Refused as refused:
            return refused.reason
        return None
