"""The proposer of one register: how a change finds its two majorities. Sans-I/O.

Cold, a change takes two round trips: prepare, accept. Each accept asks for the promise of the proposer's next ballot
as well, and a proposer that a majority has given it skips the first round trip (Rystsov 2018, section 2.2.1). What it
holds is used up by the attempt that takes it: whatever comes of that, the ballot is never used again, and only a
success brings the next. (A proposer that kept it after a failure would send another value under the same ballot; the
reference implementation for Redis, gryadka, loses an acknowledged write by that.)

Reads ask what was accepted. A majority that names the same ballot has accepted that value, and nothing later was
chosen before the question was asked: one round trip, and nothing is written. (Skrzypczak, Schintke, Schütt,
"Linearizable State Machine Replication of State-Based CRDTs without Logs", PODC 2019, has the consistent quorum.)
Otherwise the value is written anew as it is (identity transition).

An `Exchange` is driven so: send every one of `requests()`, report each reply and each loss of the phase that is on;
when `phase` has moved on, send again; when `result` is there, it is over.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from atoll.state.strong.ballot import Ballot, Ballots
from atoll.state.strong.membership import Configuration, Member, parse
from atoll.state.strong.messages import (
    Accept,
    Accepted,
    Body,
    Current,
    Prepare,
    Promised,
    Read,
    Refused,
    Register,
    Rejected,
    Reply,
    Request,
    Stale,
)

Transition: TypeAlias = Callable[[bytes | None], bytes]
"""The register's value -> its next one; None for a register that nobody has written."""


class Phase(Enum):
    READ = "read"
    PREPARE = "prepare"
    ACCEPT = "accept"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A majority has accepted this value."""

    value: bytes | None


@dataclass(frozen=True, slots=True)
class Beaten:
    """Acceptors have promised a higher ballot; for a read, they have not agreed on one."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """An acceptor goes by a newer configuration."""

    configuration: Configuration


@dataclass(frozen=True, slots=True)
class NoMajority:
    """Too few members answered."""

    answered: tuple[str, ...]
    """Regions that took part."""
    missing: Mapping[str, str]
    """Region -> why it did not."""


Result: TypeAlias = Chosen | Beaten | Outdated | NoMajority


class Exchange(ABC):
    """Questions to all members of a configuration until a majority has answered, or can't any more."""

    def __init__(self, register: Register, configuration: Configuration, phase: Phase) -> None:
        self._register = register
        self._configuration = configuration
        self.phase = phase
        self.result: Result | None = None
        self._answered: list[str] = []
        self._missing: dict[str, str] = {}
        self._beaten = False
        self._failed: set[Member] = set()

    def requests(self) -> list[tuple[Member, Request]]:
        """What is to be sent in this phase, and to whom."""
        body = self._body()
        namespace, epoch = self._configuration.namespace, self._configuration.epoch
        return [
            (member, Request(namespace, epoch, member.identity, body))
            for member in self._configuration.members
        ]

    def answered(self, member: Member, reply: Reply) -> None:
        """A member's reply to the request of the phase that is on; at most one of each member a phase."""
        if self.result is not None:
            return
        match reply:
            case Stale(configuration):
                self.result = Outdated(parse(configuration))
            case Refused(reason):
                self.lost(member, reason.value)
            case Rejected(promised):
                self._beaten = True
                self._saw(promised)
                self._fail(member)
            case _:
                self._answered.append(member.region)
                self._vote(reply)

    def lost(self, member: Member, why: str) -> None:
        """A member did not answer, or takes no part."""
        if self.result is None:
            self._missing[member.region] = why
            self._fail(member)

    def give_up(self, why: str) -> None:
        """Waits no longer for those who have not answered."""
        if self.result is None:
            for member in self._configuration.members:
                if member.region not in self._answered:
                    self._missing.setdefault(member.region, why)
            self.result = self._failure()

    @abstractmethod
    def _body(self) -> Body: ...

    @abstractmethod
    def _vote(self, reply: Reply) -> None: ...

    def _saw(self, ballot: Ballot) -> None:
        return None

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._answered.clear()
        self._missing.clear()
        self._failed.clear()
        self._beaten = False

    def _fail(self, member: Member) -> None:
        self._failed.add(member)
        if len(self._configuration.members) - len(self._failed) < self._configuration.majority:
            self.result = self._failure()

    def _failure(self) -> Result:
        # One who was beaten has been heard, and will win with a higher ballot: that is the better news.
        if self._beaten:
            return Beaten()
        return NoMajority(tuple(self._answered), dict(self._missing))


class Reading(Exchange):
    """A read in one round trip, where a majority agrees."""

    def __init__(self, register: Register, configuration: Configuration, ballots: Ballots) -> None:
        super().__init__(register, configuration, Phase.READ)
        self._ballots = ballots
        self._votes: list[Current] = []

    def _body(self) -> Body:
        return Read(self._register)

    def _vote(self, reply: Reply) -> None:
        assert isinstance(reply, Current)
        self._votes.append(reply)
        if reply.accepted is not None:
            self._ballots.saw(reply.accepted)
        majority = self._configuration.majority
        if sum(vote.accepted == reply.accepted for vote in self._votes) >= majority:
            self.result = Chosen(reply.value)
        elif len(self._votes) >= majority:
            self.result = Beaten()


@dataclass(frozen=True, slots=True)
class Held:
    """What a success leaves: a ballot that a majority has promised, and the value that it then had accepted."""

    ballot: Ballot
    value: bytes
    configuration: Configuration
    """The one whose majority it is."""


class Attempt(Exchange):
    """One try to change the register, with a ballot of its own."""

    def __init__(
        self,
        proposer: "Proposer",
        configuration: Configuration,
        ballot: Ballot,
        held: Held | None,
        transition: Transition,
    ) -> None:
        super().__init__(proposer.register, configuration, Phase.PREPARE)
        self._proposer = proposer
        self._transition = transition
        self._ballot = ballot
        self._next: Ballot | None = None
        self._value = b""
        self._highest: Promised | None = None
        self._votes = 0
        self._promises = 0
        self.warm = held is not None
        self.rounds = 1
        if held is not None:
            self._begin_accept(held.value)

    @property
    def proposed(self) -> bool:
        """Whether a value may have reached an acceptor: then a failure says nothing about what becomes of it."""
        return self.phase is Phase.ACCEPT

    def _body(self) -> Body:
        if self.phase is Phase.PREPARE:
            return Prepare(self._register, self._ballot)
        return Accept(self._register, self._ballot, self._value, self._next)

    def _vote(self, reply: Reply) -> None:
        self._votes += 1
        majority = self._configuration.majority
        if self.phase is Phase.PREPARE:
            assert isinstance(reply, Promised)
            highest = self._highest
            if reply.accepted is not None and (
                highest is None or highest.accepted is None or reply.accepted > highest.accepted
            ):
                self._highest = reply
            if self._votes >= majority:
                self._enter(Phase.ACCEPT)
                self.rounds += 1
                self._begin_accept(None if self._highest is None else self._highest.value)
            return
        assert isinstance(reply, Accepted)
        if reply.promised == self._next:
            self._promises += 1
        else:
            self._saw(reply.promised)
        if self._votes >= majority:
            self.result = Chosen(self._value)
            if self._promises >= majority and self._next is not None:
                self._proposer.hold(Held(self._next, self._value, self._configuration))

    def _begin_accept(self, value: bytes | None) -> None:
        self.phase = Phase.ACCEPT
        self._votes = 0
        self._value = self._transition(value)
        self._next = self._proposer.ballots.next()

    def _saw(self, ballot: Ballot) -> None:
        self._proposer.ballots.saw(ballot)


class Proposer:
    """Changes and reads one register, one exchange at a time.

    `ballots` are the process's, shared by all its proposers.
    """

    __slots__ = ("_held", "ballots", "register")

    def __init__(self, register: Register, ballots: Ballots) -> None:
        self.register = register
        self.ballots = ballots
        self._held: Held | None = None

    @property
    def warm(self) -> bool:
        """Whether the next change takes one round trip, if nobody else has come between."""
        return self._held is not None

    def attempt(self, configuration: Configuration, transition: Transition) -> Attempt:
        """Begins a change. `transition` is called once, when the present value is known."""
        held = self._take()
        if held is None or held.configuration != configuration:
            return Attempt(self, configuration, self.ballots.next(), None, transition)
        return Attempt(self, configuration, held.ballot, held, transition)

    def read(self, configuration: Configuration) -> Reading:
        """Begins a read; where its result is `Beaten`, make an identity transition."""
        return Reading(self.register, configuration, self.ballots)

    def hold(self, held: Held) -> None:
        """An attempt succeeded."""
        self._held = held

    def _take(self) -> Held | None:
        # Taken before it is known what comes of it: so no way of failing, nor being forgotten, leaves it behind.
        held, self._held = self._held, None
        return held
