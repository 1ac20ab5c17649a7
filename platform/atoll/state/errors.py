"""What the state can say no to."""

from enum import StrEnum


class StateError(Exception):
    """Base of all errors of the state."""


class Refusal(StrEnum):
    """Why a store refuses; its value is the first word of the store's error reply."""

    CLOSED = "CLOSED"
    """The store has not been opened since its server started: no epoch, so no number to give a write."""
    CLOCK = "CLOCK"
    """The region's clock is off, says its agent. Its stamps would win or lose against all others wrongly."""
    RANGE = "RANGE"
    """The sum of a counter's increments, or of its decrements, would leave the exact numbers (2**53 - 1)."""
    IDENTITY = "IDENTITY"
    """The store's data belong to another region or deployment."""
    TWIN = "TWIN"
    """Operations of this store's own actor came that it never wrote: two stores run under one identity."""
    VERSION = "VERSION"
    """The store's data, or an operation, is of a version that this program does not know."""


class StoreRefused(StateError):
    """The store did nothing of what it was asked."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(f"the state store refused: {detail} ({refusal})")
        self.refusal = refusal
        self.detail = detail


class StoreUnavailable(StateError):
    """The store can't be reached, or broke off before it answered."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        outcome = "the command may have been carried out" if sent else "nothing was done"
        super().__init__(
            f"the state store gave no answer: {detail}; {outcome}. See whether it runs (`atoll status`) and its log"
        )
        self.sent = sent
        """Whether the command had gone out: then it may have been carried out."""


class StoreFull(StateError):
    """The store has reached its memory limit. It changed nothing; it still answers reads."""

    def __init__(self) -> None:
        super().__init__(
            "the state store is full and takes nothing more in: remove what is not needed, which it still does, "
            "or raise its `maxmemory` and its machine's memory"
        )


class StoreBroken(StateError):
    """The store answered what it never should: a fault of this program, or data that something else has changed."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the state store failed: {detail}; report it with the store's log")
