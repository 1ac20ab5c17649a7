"""What proposers and acceptors tell each other.

Every request names the namespace whose acceptors it means, the epoch of the configuration that the proposer goes by,
and the member that it takes the acceptor for. An acceptor that isn't that member refuses: its store has been lost, or
restored from elsewhere.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from atoll.state.strong.ballot import Ballot


@dataclass(frozen=True, slots=True, order=True)
class Register:
    """Which register."""

    namespace: str
    key: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """Phase 1: promise to accept nothing below `ballot`, and tell what you have accepted."""

    register: Register
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Accept:
    """Phase 2: accept `value`, and promise `promise` for the next change if it is given."""

    register: Register
    ballot: Ballot
    value: bytes
    promise: Ballot | None


@dataclass(frozen=True, slots=True)
class Read:
    """Tell what you have accepted; promises nothing."""

    register: Register


@dataclass(frozen=True, slots=True)
class List:
    """Keys of the namespace's registers after `after`, in order, at most `limit`."""

    after: str
    limit: int


@dataclass(frozen=True, slots=True)
class Configure:
    """Go by this configuration from now on, and refuse older ones."""

    configuration: bytes


@dataclass(frozen=True, slots=True)
class Describe:
    """Tell who you are and which configuration you go by. Answered whichever member the request names."""


Body: TypeAlias = Prepare | Accept | Read | List | Configure | Describe


@dataclass(frozen=True, slots=True)
class Request:
    namespace: str
    """The namespace whose acceptors are meant: for a register of the reserved namespace, the one it is about."""
    epoch: int
    """Of the proposer's configuration; for `Configure`, of the one that it brings."""
    member: str
    """The identity of the store that is meant; empty for `Describe`."""
    body: Body


@dataclass(frozen=True, slots=True)
class Promised:
    """The ballot is promised; this is what was accepted last, if anything."""

    accepted: Ballot | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The value is accepted, and nothing below `promised` will be from now on."""

    promised: Ballot


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing below `promised` is accepted."""

    promised: Ballot


@dataclass(frozen=True, slots=True)
class Current:
    """What was accepted last."""

    accepted: Ballot | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Listed:
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Configured:
    """This configuration, or a later one with the same content, is in force."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The request's configuration is older than this one."""

    configuration: bytes


class Refusal(StrEnum):
    """Why an acceptor takes no part."""

    NO_IDENTITY = "its store has no identity yet"
    OTHER_MEMBER = (
        "its store is not the one that is meant: it was lost or replaced, and has to join as a new member"
    )
    NO_CONFIGURATION = "it is told of no configuration of this namespace yet"
    DISPUTED = "it goes by another configuration of the same epoch"


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Refusal


@dataclass(frozen=True, slots=True)
class Description:
    identity: str | None
    epoch: int
    """Of its configuration; 0 if it has none."""
    configuration: bytes | None


Reply: TypeAlias = (
    Promised | Accepted | Rejected | Current | Listed | Configured | Stale | Refused | Description
)
