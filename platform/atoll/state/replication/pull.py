"""The receiving side of one link: keeps a connection to a peer open, and applies what comes."""

import asyncio
import logging
from collections.abc import Callable
from random import Random

from atoll.clock import Clock
from atoll.state.replication import messages
from atoll.state.replication.alone import alone
from atoll.state.replication.clock_guard import ClockGuard
from atoll.state.replication.holds import Holds
from atoll.state.replication.known import Known
from atoll.state.replication.messages import Gap, LogBatch, MessageError, Ping, Pong, Subscribe
from atoll.state.replication.peers import Channel, PeerLost, Peers
from atoll.state.replication.receiver import OutOfStep, Receiver, ReceiverStatistics, Retry
from atoll.state.replication.settings import ReplicationSettings
from atoll.state.store import ApplyOutcome, ApplyResult, Batch, Store
from atoll.state.vector import Dot

log = logging.getLogger(__name__)


class Pull:
    """One peer's log, streamed into the own store."""

    def __init__(
        self,
        region: str,
        peer: str,
        store: Store,
        peers: Peers,
        holds: Holds,
        known: Known,
        guard: ClockGuard,
        settings: ReplicationSettings,
        clock: Clock,
        chance: Random,
        holdings: Callable[[], frozenset[str]],
        hears: Callable[[str], bool],
        contact: Callable[[str], None],
    ) -> None:
        """`holdings` are the namespaces that this region may hold; `hears` says whether a peer may be heard: one
        that is fenced may not. `contact` is told whenever something comes.
        """
        self._region = region
        self._peer = peer
        self._store = store
        self._peers = peers
        self._holds = holds
        self._known = known
        self._guard = guard
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._holdings = holdings
        self._hears = hears
        self._contact = contact
        self._receiver = Receiver(peer)
        self._pinged: dict[int, float] = {}
        self._pings = 0
        self._arrived = asyncio.Event()
        self._again = False
        self._cursor: Dot | None = None
        """What the peer was told when it was subscribed to."""
        self.connected_since: float | None = None
        """Monotonic; None while there is no connection."""
        self.gap = False
        """The peer's log has no more what this region needs."""

    async def run(self) -> None:
        """For ever. Raises what the store raises."""
        pause_s = self._settings.reconnect_s
        while True:
            began = self._clock.monotonic()
            try:
                await alone(self._connect())
            except* (PeerLost, MessageError, OutOfStep) as lost:
                log.info("a link has ended", extra={"peer": self._peer, "reason": str(lost.exceptions[0])})
            if self._clock.monotonic() - began > self._settings.silence_s:
                pause_s = self._settings.reconnect_s
            await asyncio.sleep(pause_s * (0.5 + self._chance.random()))
            pause_s = min(2 * pause_s, self._settings.reconnect_most_s)

    def again(self) -> None:
        """What this region may hold has changed: the peer must know."""
        self._again = True
        self._arrived.set()

    def filled(self) -> None:
        """A transfer has ended: if there was a gap, it may be filled."""
        if self.gap:
            self._again = True
            self._arrived.set()

    @property
    def needs(self) -> Dot | None:
        """What the next operation waits for."""
        return self._receiver.statistics().needs

    def statistics(self) -> ReceiverStatistics:
        return self._receiver.statistics()

    async def _connect(self) -> None:
        channel = await self._peers.open(self._peer)
        try:
            await self._connected(channel)
        finally:
            channel.abort()
            self.connected_since = None

    async def _connected(self, channel: Channel) -> None:
        self._receiver = Receiver(self._peer)
        self._pinged.clear()
        self._again = False
        await self._subscribe(channel)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(channel))
            group.create_task(self._apply(channel))
            group.create_task(self._ping(channel))

    async def _subscribe(self, channel: Channel) -> None:
        vector = await self._store.vector()
        self._known.use(vector)
        self.gap = False
        self._cursor = vector.latest(self._peer)
        await channel.send(messages.encode(Subscribe(self._region, vector, tuple(sorted(self._holdings())))))

    async def _listen(self, channel: Channel) -> None:
        while True:
            try:
                async with asyncio.timeout(self._settings.silence_s):
                    message = messages.decode(await channel.receive())
            except TimeoutError as error:
                raise PeerLost(f"nothing came from {self._peer} for too long") from error
            self._contact(self._peer)
            match message:
                case LogBatch(batch):
                    await self._received(channel, batch)
                case Gap():
                    self._gap()
                case Pong(number, wall_ms):
                    sent = self._pinged.pop(number, None)
                    if sent is not None:
                        self._guard.observe(self._peer, sent, wall_ms)
                        if self.connected_since is None:
                            self.connected_since = self._clock.monotonic()
                            self._known.ring()
                case _:
                    raise MessageError(f"{type(message).__name__} has no place on a sender's connection")

    async def _received(self, channel: Channel, batch: Batch) -> None:
        self._receiver.received(batch)
        self._arrived.set()

    def _gap(self) -> None:
        """The log has no more what followed the cursor; unless a transfer has moved the cursor since it was told."""
        now = self._known.vector.latest(self._peer)
        if now is not None and now != self._cursor:
            self.again()
        else:
            self.gap = True

    async def _apply(self, channel: Channel) -> None:
        while True:
            if self._again:
                self._again = False
                await self._subscribe(channel)
            batch = self._receiver.next()
            if batch is None:
                self._arrived.clear()
                await self._arrived.wait()
            else:
                await self._apply_one(channel, batch)

    async def _apply_one(self, channel: Channel, batch: Batch) -> None:
        if not (self._hears(self._peer) and self._holds.free(batch.actor, self._known.vector)):
            await self._known.changed(self._settings.ping_s)
            return
        self._holds.applying(batch.actor)
        try:
            result = await self._store.apply(batch)
        finally:
            self._holds.applied(batch.actor)
            self._known.ring()
        self._known.raised(batch.actor, result.seq)
        await self._told(channel, batch, result)

    async def _told(self, channel: Channel, batch: Batch, result: ApplyResult) -> None:
        said = self._receiver.applied(result)
        if not isinstance(said, Retry):
            await channel.send(messages.encode(said))
            return
        if result.outcome is ApplyOutcome.UNREADABLE:
            log.warning(
                "an operation is of a newer version than this region's store reads; the link waits until it is updated",
                extra={"peer": self._peer, "actor": batch.actor, "after": result.seq},
            )
        end = self._clock.monotonic() + said.after_s
        while (left := end - self._clock.monotonic()) > 0:
            if said.needs is not None and self._known.vector.covers(said.needs):
                return
            await self._known.changed(left)

    async def _ping(self, channel: Channel) -> None:
        while True:
            self._pings += 1
            self._pinged[self._pings] = self._clock.monotonic()
            await channel.send(messages.encode(Ping(self._pings)))
            await asyncio.sleep(self._settings.ping_s)
