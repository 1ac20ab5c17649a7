"""What the idempotency layer asks of whatever keeps the records of keys."""

from typing import Protocol

from atoll.resilience.idempotency import Claim, Claimed, Settlement


class KeysUnavailable(Exception):
    """The records could not be asked. `sent`: the order may have been, or may yet be, carried out."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Keys(Protocol):
    """The records of one region. `atoll.resilience.idempotency.Records` has the rules.

    Both calls are atomic and last: what they acknowledge survives a crash of the store and of every gateway. Both are
    bounded in time and raise `KeysUnavailable`.
    """

    async def claim(self, claim: Claim) -> Claimed:
        """Takes the key if it is free, else says how it stands. May be repeated while it is not settled."""

    async def settle(self, claim: Claim, settlement: Settlement, answer: bytes = b"") -> bool:
        """Ends a claim; false if the key is not, or no longer, this claim's. May be repeated."""
