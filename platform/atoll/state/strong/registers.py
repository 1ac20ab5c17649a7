"""Strong registers over acceptors: the cores, driven. One instance is one proposer, for all namespaces of an agent.

A change is tried again with a new ballot until it has an outcome or its time is up; its operation id makes that safe.
A region that can't reach a majority says so after two rounds, rather than at the end of the caller's patience.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, TypeAlias

from atoll.state.strong.backend import (
    Change,
    Outcome,
    StrongError,
    Unavailable,
    Unknown,
    Versioned,
)
from atoll.state.strong.ballot import Ballots
from atoll.state.strong.membership import RESERVED, Configuration, Member
from atoll.state.strong.messages import Register, Reply, Request
from atoll.state.strong.proposer import (
    Beaten,
    Chosen,
    Exchange,
    NoMajority,
    Outdated,
    Phase,
    Proposer,
)
from atoll.state.strong.queue import Answer, Batch, Entry, Queue
from atoll.state.strong.register import REMEMBERED

LINES = 10_000
"""Registers whose promise and value are kept at hand; of those at rest the oldest goes first."""


class Unreachable(Exception):
    """An acceptor did not answer: not connected, too slow, or its store is down. The request may have been done."""


class Acceptors(Protocol):
    """The way to the acceptors."""

    async def ask(self, region: str, request: Request) -> Reply:
        """A region's acceptor's reply. Raises `Unreachable`."""
        ...


@dataclass(frozen=True, slots=True)
class RegistersPolicy:
    """Seconds throughout. Figures of this project's own, for round trips of up to 400 ms."""

    timeout_s: float = 5.0
    """For an operation whose caller names none."""
    round_s: float = 1.0
    """For a majority to answer in a phase."""
    backoff_s: float = 0.02
    """After a defeat, random up to this, doubling up to `backoff_cap_s`."""
    backoff_cap_s: float = 1.0
    remembered: int = REMEMBERED


@dataclass(frozen=True, slots=True)
class RegistersStatistics:
    """A snapshot; counters run from the start of this process."""

    registers: int
    """At hand."""
    waiting: int
    """Operations."""
    changes: int
    """Operations with an outcome."""
    reads: int
    commits: int
    """Attempts that succeeded: several changes may share one."""
    warm_commits: int
    """Of those, in one round trip."""
    rounds: int
    """Of commits: one warm, two cold."""
    ballots: int
    """Attempts, whatever came of them; divided by `commits`, the ballots per commit."""
    beaten: int
    no_majority: int
    outdated: int
    reads_in_one_round: int
    """Reads, or batches of them, that wrote nothing."""


@dataclass(slots=True)
class _Counts:
    changes: int = 0
    reads: int = 0
    commits: int = 0
    warm_commits: int = 0
    rounds: int = 0
    ballots: int = 0
    beaten: int = 0
    no_majority: int = 0
    outdated: int = 0
    reads_in_one_round: int = 0


Ticket: TypeAlias = asyncio.Future[Answer]


@dataclass(slots=True)
class _Line:
    """A register's proposer and those who wait for it."""

    namespace: str
    proposer: Proposer
    queue: Queue[Ticket]
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody has, since it was cleared."""
    task: asyncio.Task[None] | None = None
    failures: int = 0
    """In a row."""
    no_majority: NoMajority | None = None
    """The last one since the last success."""


class Registers:
    """The backend `registers`.

    `proposer` names this process and no other that ever was: region and boot epoch. `adopt` tells it the acceptors of
    each namespace; from then on it learns of changes by itself. Close it with `close`.
    """

    def __init__(
        self,
        acceptors: Acceptors,
        proposer: str,
        random: Random,
        policy: RegistersPolicy | None = None,
        make_proposer: Callable[[Register, Ballots], Proposer] = Proposer,
    ) -> None:
        self._acceptors = acceptors
        self._name = proposer
        self._ballots = Ballots(proposer)
        self._random = random
        self._policy = policy or RegistersPolicy()
        self._make_proposer = make_proposer
        self._configurations: dict[str, Configuration] = {}
        self._lines: OrderedDict[Register, _Line] = OrderedDict()
        self._sending: set[asyncio.Task[None]] = set()
        self._counts = _Counts()

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        answer = await self.operate(namespace, _register(namespace, key), timeout_s=timeout_s)
        return answer.value

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        answer = await self.operate(namespace, _register(namespace, key), change, timeout_s=timeout_s)
        assert answer.outcome is not None
        return answer.outcome

    async def operate(
        self,
        namespace: str,
        register: Register,
        change: Change | None = None,
        *,
        rewrite: bool = False,
        timeout_s: float | None = None,
    ) -> Answer:
        """Reads, changes or rewrites a register, of the reserved namespace too, with the acceptors of `namespace`.

        Raises `Unavailable` and `Unknown`.
        """
        limit = self._policy.timeout_s if timeout_s is None else timeout_s
        line = self._line(namespace, register)
        entry = line.queue.put(asyncio.get_running_loop().create_future(), change, rewrite=rewrite)
        line.came.set()
        try:
            if line.task is None:
                line.task = asyncio.create_task(self._serve(line))
            async with asyncio.timeout(limit):
                return await entry.ticket
        except TimeoutError:
            raise self._late(line, entry, limit) from None
        finally:
            line.queue.withdraw(entry)

    def adopt(self, configuration: Configuration) -> None:
        """Goes by this acceptor set from now on, unless it knows a newer one."""
        known = self._configurations.get(configuration.namespace)
        if known is None or configuration.epoch > known.epoch:
            self._configurations[configuration.namespace] = configuration

    def configuration(self, namespace: str) -> Configuration:
        """The acceptor set it goes by. Raises `Unavailable` if it knows none."""
        try:
            return self._configurations[namespace]
        except KeyError:
            raise Unavailable(
                f"the acceptors of namespace {namespace} are not known here yet: none of their regions has answered "
                "since this agent started"
            ) from None

    def statistics(self) -> RegistersStatistics:
        counts = self._counts
        return RegistersStatistics(
            registers=len(self._lines),
            waiting=sum(len(line.queue) for line in self._lines.values()),
            changes=counts.changes,
            reads=counts.reads,
            commits=counts.commits,
            warm_commits=counts.warm_commits,
            rounds=counts.rounds,
            ballots=counts.ballots,
            beaten=counts.beaten,
            no_majority=counts.no_majority,
            outdated=counts.outdated,
            reads_in_one_round=counts.reads_in_one_round,
        )

    async def close(self) -> None:
        """Stops at once. Operations under way raise `Unavailable` or `Unknown`, each what is true of it."""
        tasks = [line.task for line in self._lines.values() if line.task is not None] + list(self._sending)
        for line in self._lines.values():
            self._refuse(line, f"this region's proposer ({self._name}) is being stopped", everybody=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lines.clear()

    def _line(self, namespace: str, register: Register) -> _Line:
        line = self._lines.get(register)
        if line is None:
            line = _Line(
                namespace, self._make_proposer(register, self._ballots), Queue(self._policy.remembered)
            )
            self._lines[register] = line
            if len(self._lines) > LINES:
                self._forget_one()
        self._lines.move_to_end(register)
        return line

    def _forget_one(self) -> None:
        for register, line in self._lines.items():
            if line.task is None and not line.queue:
                del self._lines[register]
                return

    async def _serve(self, line: _Line) -> None:
        """Works off a register's queue, one exchange after the other."""
        try:
            while line.queue:
                batch = line.queue.batch(asyncio.get_running_loop().time())
                if not batch.entries:
                    await self._somebody(line)
                    continue
                configuration = self.configuration(line.namespace)
                if batch.only_reads and line.failures == 0 and await self._read(line, batch, configuration):
                    continue
                await self._attempt(line, batch, configuration)
        except (StrongError, ValueError) as error:
            # No acceptors known, or a value of a later format: nothing that another attempt would change.
            self._refuse(line, str(error), everybody=True)
        finally:
            line.task = None

    async def _somebody(self, line: _Line) -> None:
        """Waits for whose turn it is."""
        line.came.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(line.queue.waits_s(asyncio.get_running_loop().time())):
                await line.came.wait()

    async def _read(self, line: _Line, batch: Batch[Ticket], configuration: Configuration) -> bool:
        """Reads in one round trip. False if no majority agrees, so that the value has to be written anew."""
        reading = line.proposer.read(configuration)
        await self._drive(reading)
        match reading.result:
            case Chosen(value):
                self._counts.reads_in_one_round += 1
                self._succeed(line, batch, value)
            case Beaten():
                return False
            case _:
                await self._fail(line, reading)
        return True

    async def _attempt(self, line: _Line, batch: Batch[Ticket], configuration: Configuration) -> None:
        attempt = line.proposer.attempt(configuration, batch.transition)
        self._counts.ballots += 1
        await self._drive(attempt)
        match attempt.result:
            case Chosen(value):
                self._counts.commits += 1
                self._counts.warm_commits += attempt.warm
                self._counts.rounds += attempt.rounds
                self._succeed(line, batch, value)
            case _:
                await self._fail(line, attempt)

    async def _drive(self, exchange: Exchange) -> None:
        """Sends what an exchange asks for until it has a result."""
        loop = asyncio.get_running_loop()
        while exchange.result is None:
            turn: asyncio.Future[None] = loop.create_future()
            for member, request in exchange.requests():
                task = loop.create_task(self._ask(exchange, exchange.phase, turn, member, request))
                # Those that the majority doesn't wait for go on: every acceptor is to hear of what was chosen.
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
            try:
                async with asyncio.timeout(self._policy.round_s):
                    await turn
            except TimeoutError:
                exchange.give_up(f"no answer within {self._policy.round_s:g} s")

    async def _ask(
        self, exchange: Exchange, phase: Phase, turn: asyncio.Future[None], member: Member, request: Request
    ) -> None:
        try:
            reply = await self._acceptors.ask(member.region, request)
        except Unreachable as error:
            if not turn.done():
                exchange.lost(member, str(error))
        else:
            if not turn.done():
                try:
                    exchange.answered(member, reply)
                except ValueError as error:
                    turn.set_exception(error)
                    return
        if not turn.done() and (exchange.result is not None or exchange.phase is not phase):
            turn.set_result(None)

    def _succeed(self, line: _Line, batch: Batch[Ticket], value: bytes | None) -> None:
        line.failures = 0
        line.no_majority = None
        for entry, answer in batch.answers(value):
            self._answer(line, entry, answer)
        for entry, answer in line.queue.vain(value):
            self._answer(line, entry, answer)

    def _answer(self, line: _Line, entry: Entry[Ticket], answer: Answer) -> None:
        line.queue.settle(entry, answer.outcome, asyncio.get_running_loop().time())
        if entry.change is None:
            self._counts.reads += not entry.rewrite
        else:
            self._counts.changes += 1
        if not entry.ticket.done():
            entry.ticket.set_result(answer)

    async def _fail(self, line: _Line, exchange: Exchange) -> None:
        """Learns from a failure, and waits before the next attempt where others are to be let through."""
        match exchange.result:
            case Outdated(newer):
                self._counts.outdated += 1
                self.adopt(newer)
                return
            case NoMajority() as result:
                self._counts.no_majority += 1
                again = line.no_majority is not None
                line.no_majority = result
                if again:
                    self._refuse(line, self._told(line, result), everybody=False)
            case _:
                self._counts.beaten += 1
                line.no_majority = None
        line.failures += 1
        limit = min(self._policy.backoff_cap_s, self._policy.backoff_s * 2 ** min(line.failures - 1, 16))
        await asyncio.sleep(self._random.random() * limit)

    def _refuse(self, line: _Line, why: str, *, everybody: bool) -> None:
        """Those of whom nothing has been proposed are told that nothing was done, the others only if `everybody`."""
        for entry in line.queue.waiting():
            if entry.proposed and not everybody:
                continue
            line.queue.withdraw(entry)
            if not entry.ticket.done():
                entry.ticket.set_exception(_failure(line, entry, why))

    def _late(self, line: _Line, entry: Entry[Ticket], limit: float) -> StrongError:
        if line.no_majority is not None:
            why = self._told(line, line.no_majority)
        elif line.failures:
            why = f"other proposers were faster {line.failures} times in a row"
        else:
            why = "the acceptors' answers, or operations before it, took longer"
        return _failure(line, entry, f"no outcome within {limit:g} s: {why}")

    def _told(self, line: _Line, result: NoMajority) -> str:
        configuration = self.configuration(line.namespace)
        missing = "; ".join(f"{region}: {why}" for region, why in sorted(result.missing.items()))
        return (
            f"no majority ({configuration.majority} of {len(configuration.members)} acceptors): {missing}; "
            f"answered so far: {', '.join(sorted(result.answered)) or 'nobody'}"
        )


def _register(namespace: str, key: str) -> Register:
    if namespace == RESERVED:
        raise ValueError(
            f"namespace {RESERVED} holds acceptor sets; it is changed by joining and leaving alone"
        )
    return Register(namespace, key)


def _failure(line: _Line, entry: Entry[Ticket], why: str) -> StrongError:
    register = line.proposer.register
    where = f"strong register {register.namespace}/{register.key}: {why}"
    if entry.proposed:
        return Unknown(f"{where}. The change may have been made: repeat it with the same operation id")
    return Unavailable(f"{where}. Nothing was done; try again, or from another region")
