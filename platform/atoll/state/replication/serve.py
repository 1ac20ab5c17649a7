"""The sending side: gives a peer the own log over one connection, and answers the questions of its transfers."""

import asyncio
import logging
from collections.abc import Mapping

from atoll.channel import Wire
from atoll.clock import Clock
from atoll.state.replication import messages
from atoll.state.replication.membership import Membership
from atoll.state.replication.messages import (
    Acknowledge,
    Answer,
    AskCells,
    AskDigests,
    AskListings,
    Begin,
    Begun,
    Cells,
    Digests,
    End,
    Ended,
    Gap,
    Listings,
    LogBatch,
    MessageError,
    Ping,
    Pong,
    Subscribe,
)
from atoll.state.replication.peers import Channel, PeerLost
from atoll.state.replication.sender import Sender, SenderStatistics
from atoll.state.replication.settings import ReplicationSettings
from atoll.state.replication.stability import Stability
from atoll.state.replication.verify import look
from atoll.state.store import Listing, Store
from atoll.state.vector import Dot

log = logging.getLogger(__name__)

LISTED_BYTES = 1024 * 1024
"""A listing's answer ends after the bucket with which it grows beyond this."""

BLOCK_S = 1.0
"""A read of the log waits so long at most; then the connection is looked at again."""


class LogServer:
    """One connection on which a peer receives the own log."""

    def __init__(
        self,
        region: str,
        store: Store,
        membership: Membership,
        stability: Stability,
        settings: ReplicationSettings,
        clock: Clock,
        channel: Channel,
    ) -> None:
        self._region = region
        self._store = store
        self._membership = membership
        self._stability = stability
        self._settings = settings
        self._clock = clock
        self._channel = channel
        self._sender: Sender | None = None
        self._moved = asyncio.Event()
        self._applied: Dot | None = None
        """Up to here the peer has said that it has applied the log."""
        self._told = asyncio.Event()
        self.peer = ""

    def abort(self) -> None:
        """Ends the connection."""
        self._channel.abort()

    async def run(self) -> None:
        """Until the connection ends. Raises `PeerLost`, `MessageError`, and what the store raises."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._push())
            group.create_task(self._note())

    def statistics(self) -> SenderStatistics | None:
        return None if self._sender is None else self._sender.statistics()

    async def _listen(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._settings.silence_s):
                    message = messages.decode(await self._channel.receive())
            except TimeoutError as error:
                raise PeerLost(f"nothing came from {self.peer or 'a peer'} for too long") from error
            if self.peer:
                self._stability.contact(self.peer)
            match message:
                case Subscribe():
                    await self._subscribed(message)
                case Acknowledge() if self.peer:
                    if self._sender is not None:  # else it stands still, and this is of what it sent before
                        self._sender.acknowledged(message)
                        self._moved.set()
                    self._applied = message.dot
                    self._told.set()
                case Ping(number):
                    await self._channel.send(messages.encode(Pong(number, self._clock.wall() * 1000.0)))
                case _:
                    raise MessageError(f"{type(message).__name__} has no place on a receiver's connection")

    async def _note(self) -> None:
        """Notes what the peer has applied. What it says while the store writes is one note: the last says it all."""
        while True:
            await self._told.wait()
            self._told.clear()
            if self._applied is not None:
                await self._store.acked(self.peer, self._applied)

    async def _subscribed(self, subscribe: Subscribe) -> None:
        peer = subscribe.region
        if peer not in self._membership.others(self._region):
            raise MessageError(f"{peer} asks for the log, but is no member of this deployment's topology")
        self.peer = peer
        own = await self._store.vector()
        if peer in self._stability.fenced():
            self._sender = None
            await self._channel.send(
                messages.encode(Gap("it was silent for so long that removals were dropped without it"))
            )
            return
        for actor, seq in subscribe.vector.items():
            if own.seq(actor):
                await self._store.acked(peer, Dot(actor, min(seq, own.seq(actor))))
        self._sender = Sender(self._region, subscribe, self._membership.of(peer), self._settings)
        self._moved.set()

    async def _push(self) -> None:
        while True:
            sender = self._sender
            if sender is None or not sender.ready:
                self._moved.clear()
                await self._moved.wait()
                continue
            read = await self._store.read_log(sender.cursor, min(sender.room, 1000), BLOCK_S)
            if sender is not self._sender:
                continue
            if read.gap:
                self._sender = None
                await self._channel.send(
                    messages.encode(Gap("the log no longer has what follows its cursor"))
                )
                continue
            for batch in sender.batches(read):
                await self._channel.send(messages.encode(LogBatch(batch)))
            if sender.disputed is not None:
                log.warning(
                    "a link waits until both sides have the same topology",
                    extra={"peer": self.peer, "namespace": sender.disputed},
                )
                self._sender = None


class Answerer:
    """Answers the questions of transfers, and knows whether one goes on: removals must not be collected then."""

    def __init__(
        self,
        region: str,
        store: Store,
        membership: Membership,
        stability: Stability,
        settings: ReplicationSettings,
        clock: Clock,
    ) -> None:
        self._region = region
        self._store = store
        self._membership = membership
        self._stability = stability
        self._settings = settings
        self._clock = clock
        self._asking: dict[str, float] = {}
        self.quiet = asyncio.Lock()
        """Held by who collects removals: no transfer begins in the meantime."""

    def use(self, membership: Membership) -> None:
        """Takes up another membership."""
        self._membership = membership

    @property
    def busy(self) -> bool:
        """Whether a peer transfers from here. One that has asked nothing for a while has given up."""
        return any(map(self._begun, self._asking))

    async def answer(self, peer: str, wire: Wire) -> Wire:
        """The answer to a question of region `peer`. Raises `MessageError`, and what the store raises."""
        if peer not in self._membership.others(self._region):
            raise MessageError(f"{peer} asks for state, but is no member of this deployment's topology")
        question = messages.decode(wire)
        return messages.encode(await self._answer(peer, question))

    async def _answer(self, peer: str, question: messages.Message) -> Answer:
        if self._begun(peer):
            self._extend(peer)
        match question:
            case Begin(membership=membership):
                if membership != self._membership.digest:
                    raise MessageError(
                        f"{peer} and {self._region} differ in who may hold what; a transfer waits until both have "
                        "taken up the same topology"
                    )
                async with self.quiet:
                    self._extend(peer)
                    self._stability.returns(peer)
                vector = await self._store.vector()
                stamp = await self._store.clock()
                return Begun(vector, stamp, (await self._store.statistics()).complete)
            case AskDigests(namespaces):
                self._allow(peer, *namespaces)
                digests, vector = await look(self._store, namespaces)
                return Digests(vector, digests)
            case AskListings(namespace, buckets):
                self._allow(peer, namespace)
                self._must_have_begun(peer)
                return Listings(await self._listings(namespace, buckets))
            case AskCells(namespace, wanted):
                self._allow(peer, namespace)
                self._must_have_begun(peer)
                return Cells(await self._store.cells(namespace, wanted))
            case End():
                self._must_have_begun(peer)
                self._asking.pop(peer, None)
                self._stability.returned(peer)
                return Ended()
            case _:
                raise MessageError(f"{type(question).__name__} is no question")

    async def _listings(self, namespace: str, buckets: tuple[int, ...]) -> Mapping[int, Listing]:
        listings: dict[int, Listing] = {}
        size = 0
        for bucket in buckets:
            listing = listings[bucket] = await self._store.listing(namespace, bucket)
            size += sum(len(cell.data) + len(cell.at.key) + len(cell.at.field) for cell in listing.cells)
            if size > LISTED_BYTES:
                break
        return listings

    def _begun(self, peer: str) -> bool:
        return self._asking.get(peer, 0.0) > self._clock.monotonic()

    def _must_have_begun(self, peer: str) -> None:
        if not self._begun(peer):
            raise MessageError(
                f"{peer} goes on with a transfer that has not begun, or so long ago that it was given up"
            )

    def _extend(self, peer: str) -> None:
        self._asking[peer] = self._clock.monotonic() + 2 * self._settings.question_s

    def _allow(self, peer: str, *namespaces: str) -> None:
        refused = set(namespaces) - self._membership.shared(peer, self._region)
        if refused:
            raise MessageError(
                f"{peer} asks for {', '.join(sorted(refused))}, which residency keeps from it or from {self._region}; "
                "do both regions have the same topology?"
            )
