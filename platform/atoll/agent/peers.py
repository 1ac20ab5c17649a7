"""The other regions' agents, over the links: a connection for each log, and questions of transfers."""

from collections.abc import Mapping

from atoll.channel import (
    Caller,
    CallError,
    Channel,
    ChannelClosed,
    FrameError,
    HelloRefused,
    NotSent,
    Wire,
    open_channel,
)
from atoll.state.replication import PeerLost
from atoll.tls import Calling, CellTls, Role
from atoll.topology.wiring import Address

LOG = "log"
"""Purpose of a connection on which a region's log is streamed."""
ASK = "state.ask"
"""Method of a transfer's question."""
ASK_TIMEOUT_S = 10.0


class LogChannel:
    """A channel as replication sees it: whatever ends it is the loss of the peer."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def send(self, message: Wire) -> None:
        try:
            await self._channel.send(message)
        except (ChannelClosed, FrameError) as error:
            raise PeerLost(str(error)) from error

    async def receive(self) -> Wire:
        try:
            return await self._channel.receive()
        except (ChannelClosed, FrameError) as error:
            raise PeerLost(str(error)) from error

    def abort(self) -> None:
        self._channel.abort()


class AgentPeers:
    """Connections to the agents of all other regions, opened when they are needed."""

    def __init__(
        self, region: str, addresses: Mapping[str, Address], secret: bytes, tls: CellTls | None = None
    ) -> None:
        self._name = region
        self._addresses = addresses
        self._secret = secret
        self._tls = tls
        self._callers = {peer: self._caller(peer, address) for peer, address in addresses.items()}

    @property
    def regions(self) -> tuple[str, ...]:
        """Those that there is a link to."""
        return tuple(self._addresses)

    async def use(self, addresses: Mapping[str, Address]) -> None:
        """Takes up links to other regions, or to the same at another address; calls on links that go are lost."""
        gone = [
            self._callers.pop(peer)
            for peer, address in self._addresses.items()
            if addresses.get(peer) != address
        ]
        for peer, address in addresses.items():
            if peer not in self._callers:
                self._callers[peer] = self._caller(peer, address)
        self._addresses = addresses
        for caller in gone:
            await caller.close()

    async def open(self, region: str) -> LogChannel:
        """A connection for the region's log. Raises `PeerLost`."""
        calling = self._calling(region)
        toward = None if calling is None else calling.toward()
        try:
            channel = await open_channel(self._address(region), self._secret, self._name, LOG, tls=toward)
        except (OSError, HelloRefused, FrameError) as error:
            raise PeerLost(
                f"the agent of {region} can't be reached: {str(error) or 'no answer in time'}"
            ) from error
        return LogChannel(channel)

    async def ask(self, region: str, question: Wire) -> Wire:
        """Asks a transfer's question. Raises `PeerLost`."""
        try:
            return await self.call(region, ASK, question, ASK_TIMEOUT_S)
        except CallError as error:
            raise PeerLost(str(error)) from error

    async def call(self, region: str, method: str, body: Wire, timeout_s: float) -> Wire:
        """Any call. Raises `CallError`."""
        if (caller := self._callers.get(region)) is None:
            raise NotSent(self._no_link(region))
        return await caller.call(method, body, timeout_s)

    async def close(self) -> None:
        for caller in self._callers.values():
            await caller.close()

    def _caller(self, region: str, address: Address) -> Caller:
        return Caller(address, self._secret, self._name, tls=self._calling(region))

    def _calling(self, region: str) -> Calling | None:
        return None if self._tls is None else self._tls.calling(Role.AGENT, region)

    def _address(self, region: str) -> Address:
        if (address := self._addresses.get(region)) is None:
            raise PeerLost(self._no_link(region))
        return address

    def _no_link(self, region: str) -> str:
        known = ", ".join(sorted(self._addresses)) or "none"
        return f"this agent has no link to {region}; it has links to: {known}"
