"""An order, as one value: what is bought, and what has been decided about it. Knows neither HTTP nor the state.

    pending --place--> placed --close--> placed, closed      what was done for it is kept
       `------fail---> failed --close--> failed, closed      what was done for it is undone

The order is the record of its saga (Garcia-Molina and Salem, "Sagas", SIGMOD 1987). It is decided once: of two regions
that work on one order, the second learns what the first has decided, and goes on from there.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Phase(StrEnum):
    PENDING = "pending"
    PLACED = "placed"
    FAILED = "failed"


class Reason(BaseModel):
    """Why an order failed: `kind` is for programs, `detail` for people."""

    model_config = ConfigDict(frozen=True)

    kind: str
    detail: str


class Order(BaseModel):
    """Each change returns another order; one that comes too late, the same."""

    model_config = ConfigDict(frozen=True)
    schema_version: ClassVar[int] = 1

    items: Mapping[str, int]
    """Quantities by article."""
    cents: int
    """All of it, at the prices of when it was first sent."""
    currency: str = "EUR"
    fingerprint: str
    """Of the request: what tells its repetition from another one under the same key."""
    phase: Phase = Phase.PENDING
    reason: Reason | None = None
    closed: bool = False
    """Whether what was decided has been carried through."""

    def place(self) -> "Order":
        return self if self.phase is not Phase.PENDING else self.model_copy(update={"phase": Phase.PLACED})

    def fail(self, reason: Reason) -> "Order":
        if self.phase is not Phase.PENDING:
            return self
        return self.model_copy(update={"phase": Phase.FAILED, "reason": reason})

    def close(self) -> "Order":
        return self if self.phase is Phase.PENDING else self.model_copy(update={"closed": True})
