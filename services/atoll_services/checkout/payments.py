"""A stand-in for a payment provider: charges in strong registers, one a purchase.

As with a real one, the name of a charge makes it once, its first outcome stays, and a refund is for ever: a charge that
was overtaken by its refund is not made. A card named `declined` is declined.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from atoll import state
from atoll_services.checkout.register import change

NAMESPACE = "payments"
DECLINED_CARD = "declined"


class ChargeState(StrEnum):
    CHARGED = "charged"
    DECLINED = "declined"
    REFUNDED = "refunded"


class Charge(BaseModel):
    """What was taken. Of the card nothing is kept."""

    model_config = ConfigDict(frozen=True)
    schema_version: ClassVar[int] = 1

    cents: int
    state: ChargeState

    def refund(self) -> "Charge":
        """A charge that was declined stays so."""
        if self.state is not ChargeState.CHARGED:
            return self
        return self.model_copy(update={"state": ChargeState.REFUNDED})


class Payments:
    """Both operations may be repeated at any time. Raises `state.Unavailable` and `state.Unknown`."""

    def __init__(self) -> None:
        self._charges = state.strong(NAMESPACE, Charge)

    async def charge(self, name: str, cents: int, card: str) -> Charge:
        """Takes the money, once; what became of it, now or the first time."""
        first = Charge(
            cents=cents, state=ChargeState.DECLINED if card == DECLINED_CARD else ChargeState.CHARGED
        )
        found = await change(self._charges, name, None, lambda charge: charge or first)
        return found.value

    async def refund(self, name: str, cents: int) -> Charge:
        """Gives the money back, and makes sure that it isn't taken later."""
        never = Charge(cents=cents, state=ChargeState.REFUNDED)
        found = await change(
            self._charges, name, None, lambda charge: never if charge is None else charge.refund()
        )
        return found.value
