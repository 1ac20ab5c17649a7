"""One region's replication: opens the store, streams every peer's log into it, and gives its own to them.

The agent gives it connections and questions; it has no sockets of its own, so the simulator runs the same code. It may
be stopped and started at any point: all that it must remember is in the store.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from random import Random

from redis.exceptions import RedisError

from atoll.channel import Wire
from atoll.clock import Clock
from atoll.state.errors import StateError
from atoll.state.replication.alone import alone
from atoll.state.replication.bootstrap import Bootstrap, BootstrapStatistics
from atoll.state.replication.clock_guard import ClockGuard, ClockStatistics
from atoll.state.replication.coverage import Coverage
from atoll.state.replication.holds import Holds, HoldStatistics
from atoll.state.replication.known import Known
from atoll.state.replication.lag import Heard, Lag, OriginLag
from atoll.state.replication.membership import Membership
from atoll.state.replication.messages import AskDigests, Digests, MessageError, decode, encode
from atoll.state.replication.other_clock import StoreClock
from atoll.state.replication.peers import Channel, PeerLost, Peers
from atoll.state.replication.perform import Performer
from atoll.state.replication.pull import Pull
from atoll.state.replication.receiver import ReceiverStatistics
from atoll.state.replication.sender import SenderStatistics
from atoll.state.replication.serve import Answerer, LogServer
from atoll.state.replication.settings import DEFAULTS, ReplicationSettings
from atoll.state.replication.stability import Stability, StabilityStatistics
from atoll.state.replication.transfer import Transfer, TransferError
from atoll.state.replication.trim import Trim, TrimStatistics
from atoll.state.replication.verify import verify
from atoll.state.replication.watch import Need, Watch, WatchStatistics
from atoll.state.stamp import FUTURE_MS, ahead_ms
from atoll.state.store import PeerState, Store
from atoll.state.vector import NOTHING, Vector, epoch_of, region_of

log = logging.getLogger(__name__)

STORE_ERRORS = (StateError, RedisError, OSError)
"""What a store that is down, closed or refusing raises. `MessageError`, which is a `StateError`, is caught before."""


@dataclass(frozen=True, slots=True)
class ReplicationParts:
    """Which class plays which part: the production classes, unless a test puts a broken one in the place of one."""

    transfer: Callable[..., Transfer] = Transfer
    pull: Callable[..., Pull] = Pull
    stability: Callable[..., Stability] = Stability
    holds: Callable[[], Holds] = Holds


PRODUCTION = ReplicationParts()


@dataclass(frozen=True, slots=True)
class ReplicationStatistics:
    """A snapshot of a region's replication."""

    region: str
    actor: str
    """Empty while the store is not open."""
    vector: Vector
    connected: tuple[str, ...]
    receivers: Mapping[str, ReceiverStatistics]
    senders: Mapping[str, SenderStatistics]
    lag: Mapping[str, OriginLag]
    clock: ClockStatistics
    stability: StabilityStatistics
    trim: TrimStatistics
    watch: WatchStatistics
    holds: HoldStatistics
    bootstrap: BootstrapStatistics
    sessions: int
    """Times that the store was found open, or was opened, since this process started."""


@dataclass(slots=True)
class _Session:
    """From finding the store open to losing it."""

    store: Store
    actor: str
    bootstrap: Bootstrap
    answerer: Answerer
    coverage: Coverage
    pulls: dict[str, Pull] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    servers: set[LogServer] = field(default_factory=set)
    heard: Mapping[str, PeerState] = field(default_factory=dict)
    unclaimed: bool = False
    """A transfer has brought something that the own vector doesn't say yet."""
    members_changed: asyncio.Event = field(default_factory=asyncio.Event)
    verify_at: dict[str, float] = field(default_factory=dict)


class Replicator:
    """Runs a region's replication."""

    def __init__(
        self,
        region: str,
        identity: str,
        connect: Callable[[], AbstractAsyncContextManager[Store]],
        peers: Peers,
        membership: Membership,
        clock: Clock,
        chance: Random,
        settings: ReplicationSettings = DEFAULTS,
        parts: ReplicationParts = PRODUCTION,
    ) -> None:
        """`connect` gives access to the region's store for one session. It must end with the store's server: after
        another start of that, whose data may be others, it raises. Else what was found out about the data that are
        gone would be said of those that are there.
        """
        self._region = region
        self._identity = identity
        self._connect = connect
        self._peers = peers
        self._membership = membership
        self._clock = StoreClock(clock)
        self._chance = chance
        self._settings = settings
        self._parts = parts
        self._known = Known()
        self._holds = parts.holds()
        self._lag = Lag(self._clock)
        self._guard = ClockGuard(self._clock, settings.clock_limit_ms)
        self._stability = parts.stability(clock, region, membership.members, settings.fence_s)
        self._trim = Trim(settings.log_keep, settings.log_entries)
        self._watch = Watch(clock, settings, self._vouches)
        self._session: _Session | None = None
        self._transferring = False
        self._sessions = 0
        self._refused = ""

    # --- What the agent calls

    async def run(self) -> None:
        """For ever: opens the store, and again whenever it was lost."""
        pause_s = self._settings.reconnect_s
        while True:
            try:
                await alone(self._run_session())
            except* MessageError:
                raise  # nothing but a defect lets one through to here
            except* STORE_ERRORS as lost:
                log.warning(
                    "the state store is lost, or refuses; trying again",
                    extra={"region": self._region, "reason": _first(lost)},
                )
            await asyncio.sleep(pause_s * (0.5 + self._chance.random()))

    async def serve(self, channel: Channel) -> None:
        """Gives a peer the log, until its connection ends. Raises nothing that the caller must handle."""
        session = self._session
        if session is None:
            channel.abort()
            return
        server = LogServer(
            self._region,
            session.store,
            self._membership,
            self._stability,
            self._settings,
            self._clock,
            channel,
        )
        session.servers.add(server)
        try:
            await server.run()
        except* (PeerLost, MessageError) as lost:
            log.info("a peer's link has ended", extra={"peer": server.peer, "reason": _first(lost)})
        except* STORE_ERRORS as lost:
            log.info("a peer's link has ended with the store", extra={"reason": _first(lost)})
        finally:
            session.servers.discard(server)
            channel.abort()

    async def answer(self, peer: str, question: Wire) -> Wire:
        """Answers a question of a peer's transfer. Raises `PeerLost` (come again), `MessageError` and the store's
        errors, all of which the peer is to see as `PeerLost`.
        """
        session = self._session
        if session is None:
            raise PeerLost(f"the state store of {self._region} is not open")
        return await session.answerer.answer(peer, question)

    def use(self, membership: Membership) -> None:
        """Takes up another membership: links to new members are opened, those to others ended."""
        for gone in self._membership.members - membership.members:
            self._guard.forget(gone)
        self._membership = membership
        self._stability.use(membership.members)
        if self._session is not None:
            self._session.bootstrap.use(membership)
            self._session.answerer.use(membership)
            self._session.coverage.use(membership)
            self._holds.owe(self._session.coverage.owed(self._known.vector))
            for server in self._session.servers:
                server.abort()
            for pull in self._session.pulls.values():
                pull.again()
            self._session.members_changed.set()

    def transferring(self) -> bool:
        """Whether state is being taken over from a peer now."""
        return self._transferring

    async def compare(self, peer: str, namespaces: Collection[str]) -> int | None:
        """How many buckets of those of `namespaces` that both hold differ from the peer's for good; None: that can't be
        told now, for what is on its way took too long, or a transfer runs. Raises `PeerLost`, `MessageError` and the
        store's errors.
        """
        session = self._session
        if session is None:
            raise PeerLost(f"the state store of {self._region} is not open")
        if self.transferring():
            return None
        shared = [namespace for namespace in self._shared(peer) if namespace in namespaces]
        differ = await self._performer(session, peer).run(verify(shared))
        return None if self.transferring() else differ

    async def repair(self, peer: str) -> None:
        """Takes over what the peer has and this region lacks, as when digests differ; returns when that has ended well.
        A transfer that breaks off is begun anew for ever: bound it. Raises `PeerLost` if there is no link.
        """
        if not self.reaches(peer):
            raise PeerLost(f"there is no link from {self._region} to {peer} now")
        self._watch.differs(peer)
        while self._transferring or self._watch.mends(peer):
            await self._known.changed()

    def staleness_ms(self, origin: str) -> float | None:
        """How old what is missing here of `origin` may be at most; None: nothing is known of it."""
        return None if self._session is None else self._lag.staleness_ms(origin)

    def fenced(self) -> frozenset[str]:
        """Members that were silent for so long that nothing waits for them any more."""
        return self._stability.fenced()

    def reaches(self, peer: str) -> bool:
        """Whether there is a link to a peer now."""
        session = self._session
        pull = None if session is None else session.pulls.get(peer)
        return pull is not None and pull.connected_since is not None

    def statistics(self) -> ReplicationStatistics:
        session = self._session
        own = self._known.vector
        bootstrap = (
            session.bootstrap if session else Bootstrap(self._region, self._membership, complete=False)
        )
        pulls = session.pulls if session else {}
        sent = [server.statistics() for server in session.servers] if session else []
        return ReplicationStatistics(
            region=self._region,
            actor=session.actor if session else "",
            vector=own,
            connected=tuple(sorted(self._reachable())),
            receivers={peer: pull.statistics() for peer, pull in sorted(pulls.items())},
            senders={found.peer: found for found in sent if found is not None},
            lag=self._lag.statistics(own, sorted(self._membership.others(self._region))),
            clock=self._guard.statistics(),
            stability=self._stability.statistics(own),
            trim=self._trim.statistics(),
            watch=self._watch.statistics(),
            holds=self._holds.statistics(own),
            bootstrap=bootstrap.statistics(),
            sessions=self._sessions,
        )

    # --- A session: from finding the store open to losing it

    async def _run_session(self) -> None:
        async with self._connect() as store:
            await self._run_with(store)

    async def _run_with(self, store: Store) -> None:
        actor = await self._opened(store)
        found = await store.statistics()
        self._known.use(found.vector)
        self._refused = found.refused
        session = _Session(
            store,
            actor,
            Bootstrap(self._region, self._membership, complete=found.complete),
            Answerer(self._region, store, self._membership, self._stability, self._settings, self._clock),
            Coverage(self._region, self._membership),
        )
        self._session = session
        self._lag.begin()
        self._watch.begin()
        self._sessions += 1
        try:
            await self._hear(session)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_links(session))
                group.create_task(self._beat(session))
                group.create_task(self._keep_up(session))
                group.create_task(self._transfer(session))
                group.create_task(self._verify(session))
        finally:
            self._session = None
            self._holds.end()
            self._holds.owe(NOTHING)
            for server in session.servers:
                server.abort()

    async def _opened(self, store: Store) -> str:
        """Opens the store if its server has started since; answers its actor."""
        found = await store.statistics()
        if found.actor:
            return found.actor
        floor = await self._largest_epoch_known_elsewhere()
        return (await store.open(self._region, self._identity, floor=floor)).actor

    async def _largest_epoch_known_elsewhere(self) -> int:
        """Asks all peers, for a store that lost its disk, or got an old one back, has forgotten its last epochs."""
        others = self._membership.others(self._region)
        answers = await asyncio.gather(*(self._ask_vector(peer) for peer in sorted(others)))
        known = [
            epoch_of(actor) for vector in answers for actor in vector if region_of(actor) == self._region
        ]
        return max(known, default=0)

    async def _ask_vector(self, peer: str) -> Vector:
        try:
            async with asyncio.timeout(self._settings.silence_s):
                answer = decode(await self._peers.ask(peer, encode(AskDigests(()))))
        except (PeerLost, MessageError, TimeoutError):
            return NOTHING
        return answer.vector if isinstance(answer, Digests) else NOTHING

    async def _keep_links(self, session: _Session) -> None:
        """One task a peer, as the membership says."""
        async with asyncio.TaskGroup() as group:
            while True:
                others = self._membership.others(self._region)
                for peer in sorted(others - session.pulls.keys()):
                    pull = session.pulls[peer] = self._pull(session, peer)
                    session.tasks[peer] = group.create_task(pull.run())
                for peer in sorted(session.pulls.keys() - others):
                    session.tasks.pop(peer).cancel()
                    del session.pulls[peer]
                await session.members_changed.wait()
                session.members_changed.clear()

    def _pull(self, session: _Session, peer: str) -> Pull:
        return self._parts.pull(
            self._region,
            peer,
            session.store,
            self._peers,
            self._holds,
            self._known,
            self._guard,
            self._settings,
            self._clock,
            self._chance,
            holdings=lambda: self._membership.of(self._region),
            hears=lambda peer: peer not in self._stability.fenced(),
            contact=self._stability.contact,
        )

    async def _beat(self, session: _Session) -> None:
        """Says what this region knows, and hears what the others said."""
        while True:
            await self._watch_clock(session)
            began = self._clock.monotonic()
            dot = await session.store.heartbeat()
            self._lag.beat(dot, began)
            self._known.raised(*dot)
            await self._hear(session)
            await self._watch_epoch(session)
            self._known.ring()
            await asyncio.sleep(self._settings.heartbeat_s)

    async def _hear(self, session: _Session) -> None:
        """Takes in what peers have said in their logs."""
        session.heard = await session.store.peers()
        self._stability.heard({peer: state.vector for peer, state in session.heard.items()})
        self._lag.heard(
            {peer: Heard(state.vector, state.wall_ms) for peer, state in session.heard.items()},
            self._now_ms(),
            self._guard.statistics().peers,
        )

    async def _watch_clock(self, session: _Session) -> None:
        """Refuses to write while the store's clock is off, and after it was ahead until its stamps are those of now:
        other regions would put them off until then, and all that this region writes after them.
        """
        asked = self._clock.monotonic()
        clocks = await session.store.clocks()
        self._clock.observe(asked, clocks.wall_ms)
        refused = ""
        if self._guard.refuses():
            off = self._guard.statistics().offset_ms
            refused = (
                f"this region's clock is {abs(off):.0f} ms {'behind' if off > 0 else 'ahead of'} the others"
            )
        elif (ahead := ahead_ms(clocks.stamp, clocks.wall_ms)) > 0:
            refused = f"this region's clock was {ahead + FUTURE_MS} ms ahead of what it shows now"
        if bool(refused) != bool(self._refused):
            await session.store.refuse(refused)
            self._refused = refused

    async def _watch_epoch(self, session: _Session) -> None:
        """A peer knows a later epoch of this region: this one began on an old disk and with a clock that was behind,
        while no peer was to be asked. Peers would not read its log, so it ends.
        """
        mine = epoch_of(session.actor)
        floor = max(
            (
                epoch_of(actor)
                for state in session.heard.values()
                for actor in state.vector
                if region_of(actor) == self._region
            ),
            default=0,
        )
        if floor > mine:
            log.warning(
                "peers know a later epoch of this region; a new one begins", extra={"actor": session.actor}
            )
            session.actor = (await session.store.open(self._region, self._identity, floor=floor)).actor

    async def _keep_up(self, session: _Session) -> None:
        """What must be done now and then: expiry, collection, trimming."""
        while True:
            await asyncio.sleep(self._settings.collect_s)
            if not self._refused:
                await session.store.expire(self._settings.collect_limit)
            own = await session.store.vector()
            stable = self._stability.stable(own)
            async with session.answerer.quiet:
                if not (session.answerer.busy or self._transferring):
                    await session.store.collect(stable, self._settings.collect_limit)
            entries = (await session.store.statistics()).log_entries
            cut = self._trim.cut(session.actor, entries, own, stable)
            if cut is not None:
                self._trim.trimmed(await session.store.trim(cut.before), forced=cut.forced)

    # --- Transfers

    async def _transfer(self, session: _Session) -> None:
        said = False
        while True:
            await self._claim(session)
            if session.bootstrap.complete and not said and not session.unclaimed:
                await session.store.complete()
                said = True
            need = self._due(session)
            if need is None:
                await asyncio.sleep(self._settings.heartbeat_s)
                continue
            began = self._clock.monotonic()
            self._transferring = True
            try:
                async with session.answerer.quiet:
                    pass  # a collection that has begun ends first
                await self._transfer_from(session, need, began)
            except (PeerLost, MessageError, TransferError) as error:
                self._watch.failed(need)
                log.info(
                    "a transfer broke off",
                    extra={"peer": need.peer, "why": need.reason.name.lower(), "reason": str(error)},
                )
            finally:
                self._transferring = False
                self._holds.end()
                self._known.ring()

    async def _transfer_from(self, session: _Session, need: Need, began: float) -> None:
        peer = need.peer
        transfer = self._parts.transfer(
            self._region,
            self._membership.digest,
            self._shared(peer),
            session.coverage.brought,
            self._settings,
            self._clock,
        )
        taken = await self._performer(session, peer).run(transfer.steps())
        session.unclaimed = True
        session.coverage.taken(peer, taken.vector, taken.stamp)
        self._holds.owe(session.coverage.owed(self._known.vector))
        self._watch.ended(need, taken.vector, self._clock.monotonic() - began)
        session.bootstrap.taken(peer, complete=taken.complete)
        log.info(
            "state was transferred",
            extra={
                "peer": peer,
                "why": need.reason.name.lower(),
                "buckets": taken.buckets,
                "merged": taken.merged,
                "settled": taken.settled,
            },
        )

    async def _claim(self, session: _Session) -> None:
        """Raises the own vector to what transfers have brought, once nobody reachable can bring more of it."""
        coverage = session.coverage
        if not session.unclaimed or self._more(session):
            return
        if await session.store.raise_to(coverage.claim(), coverage.stamp):
            return  # the stamp is ahead of this region's clock; it is tried again
        session.unclaimed = False
        self._known.use(await session.store.vector())
        self._holds.owe(coverage.owed(self._known.vector))
        for pull in session.pulls.values():
            pull.filled()
        self._verify_soon(session)

    def _more(self, session: _Session) -> bool:
        """Whether a peer can bring some of what is lacking."""
        vectors = self._vectors(session)
        return any(
            session.coverage.helps(peer, actor, vectors.get(peer, NOTHING).seq(actor))
            for actor in session.coverage.lacking(self._known.vector)
            for peer in self._reachable()
        )

    def _due(self, session: _Session) -> Need | None:
        for peer, pull in session.pulls.items():
            if pull.gap:
                self._watch.gap(peer)
        return self._watch.due(
            self._known.vector,
            self._vectors(session),
            self._best_first(session),
            session.coverage.lacking(self._known.vector),
            session.coverage.helps,
            session.bootstrap.missing(),
        )

    def _vectors(self, session: _Session) -> dict[str, Vector]:
        """What each peer has, as it said itself; and what it sends operations that depend on."""
        vectors = {peer: state.vector for peer, state in session.heard.items()}
        for peer, pull in session.pulls.items():
            if (needs := pull.needs) is not None:
                vectors[peer] = vectors.get(peer, NOTHING).join(Vector.of((needs,)))
        return vectors

    async def _verify(self, session: _Session) -> None:
        """Compares digests with each peer now and then, and soon after something has changed between the two."""
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            now = self._clock.monotonic()
            for peer in sorted(self._reachable()):
                pull = session.pulls.get(peer)
                if pull is None or pull.connected_since is None or self._transferring:
                    continue  # while another one was compared with, it has gone
                due = session.verify_at.get(peer, pull.connected_since + self._settings.ping_s)
                if now < due:
                    continue
                session.verify_at[peer] = now + self._settings.verify_s * (0.5 + self._chance.random())
                with contextlib.suppress(PeerLost, MessageError):
                    differ = await self._performer(session, peer).run(verify(self._shared(peer)))
                    if differ:
                        log.warning("digests differ; transferring", extra={"peer": peer, "buckets": differ})
                        self._watch.differs(peer)
                    elif differ is None:
                        session.verify_at[peer] = self._clock.monotonic() + self._settings.ping_s

    def _verify_soon(self, session: _Session) -> None:
        soon = self._clock.monotonic() + self._settings.ping_s
        session.verify_at = {peer: min(at, soon) for peer, at in session.verify_at.items()}

    # --- Small things

    def _performer(self, session: _Session, peer: str) -> Performer:
        def heard() -> Vector:
            state = session.heard.get(peer)
            return NOTHING if state is None else state.vector

        return Performer(
            peer,
            session.store,
            self._peers,
            self._known,
            self._holds,
            heard,
            self._clock,
            self._settings.question_s,
        )

    def _reachable(self) -> set[str]:
        session = self._session
        if session is None:
            return set()
        return {peer for peer, pull in session.pulls.items() if pull.connected_since is not None}

    def _best_first(self, session: _Session) -> list[str]:
        """Reachable peers: those first who may hold the most of what this region may; of equal ones the nearest."""
        clocks = self._guard.statistics().peers

        def order(peer: str) -> tuple[int, float, str]:
            offset = clocks.get(peer)
            return -len(self._shared(peer)), offset.error_ms if offset else 0.0, peer

        return sorted(self._reachable(), key=order)

    def _shared(self, peer: str) -> tuple[str, ...]:
        return tuple(sorted(self._membership.shared(self._region, peer)))

    def _vouches(self, peer: str, actor: str) -> bool:
        return self._membership.vouches(peer, actor, self._region)

    def _now_ms(self) -> float:
        return self._clock.wall() * 1000.0


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    """What the first error of a group says."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else str(error)
