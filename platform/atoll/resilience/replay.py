"""What may be sent again after an attempt that brought no response."""

from enum import StrEnum

IDEMPOTENT_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""RFC 9110, section 9.2.2. Methods are case-sensitive; an unknown one is not idempotent."""


class Replay(StrEnum):
    """Whether an attempt may be repeated, and why."""

    NOT_EXECUTED = "not-executed"
    """The far side said that it did nothing with it."""
    NEVER_LEFT = "never-left"
    """None of its bytes left this process."""
    IDEMPOTENT = "idempotent"
    """Doing it twice is the same as doing it once."""
    KEYED = "keyed"
    """The service commits the request's key together with its effect."""
    OUTCOME_UNKNOWN = "outcome-unknown"
    """It may have been executed and must not be executed again: answer 502 of this type."""

    @property
    def allowed(self) -> bool:
        return self is not Replay.OUTCOME_UNKNOWN


def replay(method: str, *, bytes_left: bool, refused: bool, keyed: bool = False) -> Replay:
    """Decides whether a request whose attempt failed may be sent again.

    `bytes_left`: any byte of the request may have left this process. `refused`: the far side answered that
    it did not execute the request (``Atoll-Refused``). `keyed`: it carries an ``Idempotency-Key`` and its service
    declares ``idempotency = "service"``. Holds only while no byte of a response has gone to the client.
    """
    if refused:
        return Replay.NOT_EXECUTED
    if not bytes_left:
        return Replay.NEVER_LEFT
    if method in IDEMPOTENT_METHODS:
        return Replay.IDEMPOTENT
    if keyed:
        return Replay.KEYED
    return Replay.OUTCOME_UNKNOWN
