"""Requests and replies of acceptors, and operations on registers, as they go over the wire.

Each is a list whose first element says what it is. A reader ignores elements beyond those that it knows, so a successor
may add some; it refuses what it doesn't know at all.
"""

from collections.abc import Sequence
from typing import cast

from atoll.channel import Wire
from atoll.state.strong.backend import (
    DELETE,
    Change,
    Committed,
    Conflict,
    Expect,
    Outcome,
    Versioned,
)
from atoll.state.strong.ballot import Ballot
from atoll.state.strong.messages import (
    Accept,
    Accepted,
    Body,
    Configure,
    Configured,
    Current,
    Describe,
    Description,
    List,
    Listed,
    Prepare,
    Promised,
    Read,
    Refusal,
    Refused,
    Register,
    Rejected,
    Reply,
    Request,
    Stale,
)


class UnknownMessage(ValueError):
    """A message of no form that this release knows."""


def encode_request(request: Request) -> Wire:
    return [request.namespace, request.epoch, request.member, *_encode_body(request.body)]


def decode_request(message: Wire) -> Request:
    """Raises `UnknownMessage`."""
    match message:
        case (str() as namespace, int() as epoch, str() as member, str() as what, *rest):
            return Request(namespace, epoch, member, _decode_body(what, rest))
    raise UnknownMessage("a request to an acceptor of no known form; update this region")


def encode_reply(reply: Reply) -> Wire:
    match reply:
        case Promised(accepted, value):
            return ["promised", _text(accepted), value]
        case Accepted(promised):
            return ["accepted", promised.text]
        case Rejected(promised):
            return ["rejected", promised.text]
        case Current(accepted, value):
            return ["current", _text(accepted), value]
        case Listed(keys):
            return ["listed", list(keys)]
        case Configured():
            return ["configured"]
        case Stale(configuration):
            return ["stale", configuration]
        case Refused(reason):
            return ["refused", reason.value]
        case Description(identity, epoch, configuration):
            return ["description", identity, epoch, configuration]


def decode_reply(message: Wire) -> Reply:
    """Raises `UnknownMessage`."""
    match message:
        case ("promised", accepted, value, *_):
            return Promised(_ballot(accepted), _optional(value))
        case ("accepted", str() as promised, *_):
            return Accepted(Ballot.parse(promised))
        case ("rejected", str() as promised, *_):
            return Rejected(Ballot.parse(promised))
        case ("current", accepted, value, *_):
            return Current(_ballot(accepted), _optional(value))
        case ("listed", [*keys], *_):
            return Listed(tuple(cast("list[str]", keys)))
        case ("configured", *_):
            return Configured()
        case ("stale", bytes() as configuration, *_):
            return Stale(configuration)
        case ("refused", str() as reason, *_):
            return Refused(Refusal(reason))
        case ("description", (str() | None) as identity, int() as epoch, configuration, *_):
            return Description(identity, epoch, _optional(configuration))
    raise UnknownMessage("an acceptor's reply of no known form; update this region")


def encode_change(change: Change) -> Wire:
    expect = change.expect.value if isinstance(change.expect, Expect) else change.expect
    value = None if change.value is DELETE else change.value
    return [expect, value, change.operation_id, change.changes, change.caller]


def decode_change(message: Wire) -> Change:
    """Raises `UnknownMessage`."""
    match message:
        case ((int() | str()) as expect, (bytes() | None) as value, str() as operation_id, *rest):
            return Change(
                Expect(expect) if isinstance(expect, str) else expect,
                DELETE if value is None else value,
                operation_id,
                *_more(rest),
            )
    raise UnknownMessage("a change of a register of no known form; update this region")


def encode_outcome(outcome: Outcome) -> Wire:
    match outcome:
        case Committed(version):
            return ["committed", version]
        case Conflict(current):
            return ["conflict", encode_versioned(current)]


def decode_outcome(message: Wire) -> Outcome:
    """Raises `UnknownMessage`."""
    match message:
        case ("committed", int() as version, *_):
            return Committed(version)
        case ("conflict", current, *_):
            return Conflict(decode_versioned(current))
    raise UnknownMessage("an outcome of a change of no known form; update this region")


def encode_versioned(found: Versioned | None) -> Wire:
    return None if found is None else [found.version, found.value]


def decode_versioned(message: Wire) -> Versioned | None:
    """Raises `UnknownMessage`."""
    match message:
        case None:
            return None
        case (int() as version, bytes() as value, *_):
            return Versioned(version, value)
    raise UnknownMessage("a register's value of no known form; update this region")


def _encode_body(body: Body) -> list[Wire]:
    match body:
        case Prepare(register, ballot):
            return ["prepare", *_names(register), ballot.text]
        case Accept(register, ballot, value, promise):
            return ["accept", *_names(register), ballot.text, value, _text(promise)]
        case Read(register):
            return ["read", *_names(register)]
        case List(after, limit):
            return ["list", after, limit]
        case Configure(configuration):
            return ["configure", configuration]
        case Describe():
            return ["describe"]


def _decode_body(what: str, rest: Sequence[Wire]) -> Body:
    match (what, *rest):
        case ("prepare", str() as namespace, str() as key, str() as ballot, *_):
            return Prepare(Register(namespace, key), Ballot.parse(ballot))
        case ("accept", str() as namespace, str() as key, str() as ballot, bytes() as value, promise, *_):
            return Accept(Register(namespace, key), Ballot.parse(ballot), value, _ballot(promise))
        case ("read", str() as namespace, str() as key, *_):
            return Read(Register(namespace, key))
        case ("list", str() as after, int() as limit, *_):
            return List(after, limit)
        case ("configure", bytes() as configuration, *_):
            return Configure(configuration)
        case ("describe", *_):
            return Describe()
    raise UnknownMessage(f"a request to an acceptor of no known kind ({what}); update this region")


def _more(rest: Sequence[Wire]) -> tuple[int, str]:
    """`changes` and `caller`."""
    match rest:
        case (int() as changes, str() as caller, *_):
            return changes, caller
    return 1, ""  # of the release before


def _names(register: Register) -> tuple[str, str]:
    return register.namespace, register.key


def _text(ballot: Ballot | None) -> str | None:
    return None if ballot is None else ballot.text


def _ballot(text: Wire) -> Ballot | None:
    return Ballot.parse(text) if isinstance(text, str) else None


def _optional(value: Wire) -> bytes | None:
    return value if isinstance(value, bytes) else None
