"""The acceptor: what it promises and accepts, one register at a time, and whom it answers.

`prepare` and `accept` are the rules on one register's record. `Acceptor` adds who it is and which configuration it
goes by; it keeps its records in memory. `acceptor.lua` is the same in the state store.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace

from atoll.state.strong.ballot import Ballot
from atoll.state.strong.messages import (
    Accept,
    Accepted,
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


@dataclass(frozen=True, slots=True)
class Record:
    """What an acceptor keeps of a register."""

    promised: Ballot | None = None
    """Nothing below it is accepted any more. Never below `accepted`."""
    accepted: Ballot | None = None
    value: bytes | None = None


EMPTY = Record()


def prepare(record: Record, ballot: Ballot) -> tuple[Record, Promised | Rejected]:
    """Promises, unless a higher ballot has the promise. Repeating a request does no harm."""
    if record.promised is not None and ballot < record.promised:
        return record, Rejected(record.promised)
    return replace(record, promised=ballot), Promised(record.accepted, record.value)


def accept(
    record: Record, ballot: Ballot, value: bytes, promise: Ballot | None
) -> tuple[Record, Accepted | Rejected]:
    """Accepts, unless a higher ballot has the promise.

    The same ballot with the same value again is answered as it was the first time: the promise for the proposer's
    next change, which came with the first, must not make the repetition look like a defeat. The same ballot with
    another value is what no proposer may send, and rejected.
    """
    if record.promised is not None and record.accepted == ballot:
        return record, Accepted(record.promised) if record.value == value else Rejected(record.promised)
    if record.promised is not None and ballot < record.promised:
        return record, Rejected(record.promised)
    promised = ballot if promise is None else max(ballot, promise)
    return Record(promised, ballot, value), Accepted(promised)


@dataclass(slots=True)
class Standing:
    """The configuration of a namespace that an acceptor goes by."""

    epoch: int
    configuration: bytes


@dataclass(slots=True)
class Acceptor:
    """One member's acceptor. What is in its fields is what its store keeps."""

    identity: str | None = None
    """Drawn once for a store, and lost with it: so a wiped acceptor is never taken for what it was."""
    standings: MutableMapping[str, Standing] = field(default_factory=dict)
    records: MutableMapping[Register, Record] = field(default_factory=dict)

    def open(self, identity: str) -> str:
        """Makes `identity` the store's if it has none yet, and returns the one it has."""
        if self.identity is None:
            self.identity = identity
        return self.identity

    def answer(self, request: Request) -> Reply:
        """Does one request, all or nothing."""
        body = request.body
        standing = self.standings.get(request.namespace)
        if isinstance(body, Describe):
            if standing is None:
                return Description(self.identity, 0, None)
            return Description(self.identity, standing.epoch, standing.configuration)
        if self.identity is None:
            return Refused(Refusal.NO_IDENTITY)
        if request.member != self.identity:
            return Refused(Refusal.OTHER_MEMBER)
        if isinstance(body, Configure):
            return self._configure(request.namespace, request.epoch, body.configuration)
        if standing is None:
            return Refused(Refusal.NO_CONFIGURATION)
        if request.epoch < standing.epoch:
            return Stale(standing.configuration)
        if isinstance(body, List):
            found = sorted(
                register.key.encode()
                for register in self.records
                if register.namespace == request.namespace and register.key.encode() > body.after.encode()
            )
            return Listed(tuple(key.decode() for key in found[: body.limit]))
        return self._vote(body)

    def _configure(self, namespace: str, epoch: int, configuration: bytes) -> Reply:
        standing = self.standings.get(namespace)
        if standing is None or epoch > standing.epoch:
            self.standings[namespace] = Standing(epoch, configuration)
            return Configured()
        if epoch < standing.epoch:
            return Stale(standing.configuration)
        return Configured() if configuration == standing.configuration else Refused(Refusal.DISPUTED)

    def _vote(self, body: Prepare | Accept | Read) -> Reply:
        record = self.records.get(body.register, EMPTY)
        match body:
            case Read():
                return Current(record.accepted, record.value)
            case Prepare():
                self.records[body.register], promised = prepare(record, body.ballot)
                return promised
            case Accept():
                self.records[body.register], accepted = accept(record, body.ballot, body.value, body.promise)
                return accepted
