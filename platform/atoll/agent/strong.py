"""Strong registers in an agent: its region's acceptor, its proposer, and the way to the proposers of other regions.

a replica's call    strong.get, strong.change      -> the key's home, here or there; the next one when it fails
another agent's     propose.get, propose.change    -> this region's proposer, which may pass it on
another proposer's  accept                         -> this region's acceptor
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from random import Random

from atoll.agent.acceptors import AcceptorKeeper
from atoll.agent.peers import AgentPeers
from atoll.channel import CallError, Handler, Remote, Wire
from atoll.clock import Clock
from atoll.state.strong.backend import (
    StrongBackend,
    Unavailable,
    Unknown,
    Versioned,
)
from atoll.state.strong.home import Homes, Passing
from atoll.state.strong.messages import Reply, Request
from atoll.state.strong.registers import Registers, RegistersStatistics, Unreachable
from atoll.state.strong.remote import RemoteProposer
from atoll.state.strong.valkey_acceptor import ValkeyAcceptor
from atoll.state.strong.wire import (
    UnknownMessage,
    decode_change,
    decode_reply,
    decode_request,
    encode_outcome,
    encode_reply,
    encode_request,
    encode_versioned,
)

ACCEPT_TIMEOUT_S = 1.0
"""For an acceptor's reply."""


class RemoteAcceptors:
    """Every region's acceptor: the own one at once, the others over their agents."""

    def __init__(self, region: str, own: ValkeyAcceptor, peers: AgentPeers) -> None:
        self._region = region
        self._own = own
        self._peers = peers

    async def ask(self, region: str, request: Request) -> Reply:
        if region == self._region:
            return await self._own.answer(request)
        try:
            answer = await self._peers.call(region, "accept", encode_request(request), ACCEPT_TIMEOUT_S)
            return decode_reply(answer)
        except (CallError, UnknownMessage) as error:
            raise Unreachable(str(error)) from error


class StrongService:
    """All of it in one agent. `run` for ever; `methods` are what others call."""

    def __init__(
        self,
        region: str,
        proposer: str,
        acceptor: ValkeyAcceptor,
        peers: AgentPeers,
        regions: Mapping[str, tuple[str, ...]],
        members: Collection[str],
        clock: Clock,
        chance: Random,
        reachable: Callable[[str], bool],
        others: Mapping[str, StrongBackend] | None = None,
    ) -> None:
        """`regions` are the namespaces with the acceptor regions that the topology names; `members` all regions that it
        has; `others` namespaces that have a backend of their own (etcd).
        """
        self._region = region
        self._acceptor = acceptor
        self._acceptors = RemoteAcceptors(region, acceptor, peers)
        self._registers = Registers(self._acceptors, proposer, chance)
        self._regions = regions
        self._others = others or {}
        self._keeper = AcceptorKeeper(region, acceptor, self._acceptors, self._registers, regions, members)
        self._peers = peers
        self._proposers: dict[str, StrongBackend] = {region: self._registers}
        self.use_links()
        self._homes = Homes(region, self._proposers, self._acceptor_regions, clock, reachable)
        self._passing = Passing(region, self._proposers, self._acceptor_regions, reachable)

    @property
    def methods(self) -> Mapping[str, Handler]:
        return {
            "accept": self._accept,
            "propose.get": lambda _, body: self._get(self._passing, body),
            "propose.change": lambda _, body: self._change(self._passing, body),
            "strong.get": lambda _, body: self._get(self._backend(body), body),
            "strong.change": lambda _, body: self._change(self._backend(body), body),
        }

    async def get(self, namespace: str, key: str, timeout_s: float) -> Versioned | None:
        """A linearizable read, as a replica's. Raises `Unavailable`."""
        return await self._others.get(namespace, self._homes).get(namespace, key, timeout_s=timeout_s)

    def statistics(self) -> RegistersStatistics:
        return self._registers.statistics()

    def use(
        self,
        regions: Mapping[str, tuple[str, ...]],
        members: Collection[str],
        others: Mapping[str, StrongBackend],
    ) -> None:
        """Takes up another topology."""
        self._regions = regions
        self._others = others
        self._keeper.use(regions, members)

    def use_links(self) -> None:
        """Takes up the links that the peers have now."""
        for gone in self._proposers.keys() - {self._region, *self._peers.regions}:
            del self._proposers[gone]
        for other in self._peers.regions:
            if other not in self._proposers:
                self._proposers[other] = RemoteProposer(partial(self._peers.call, other), "propose")

    def acceptors(self) -> dict[str, tuple[str, ...] | None]:
        """The acceptor regions of each namespace, as this region's proposer knows them; None where it knows none."""
        found: dict[str, tuple[str, ...] | None] = dict.fromkeys(self._regions)
        for namespace in found:
            with contextlib.suppress(Unavailable):
                members = self._registers.configuration(namespace).members
                found[namespace] = tuple(member.region for member in members)
        return found

    async def run(self) -> None:
        """For ever: looks after the acceptor sets."""
        await self._keeper.run()

    async def close(self) -> None:
        await self._registers.close()

    def _acceptor_regions(self, namespace: str) -> tuple[str, ...]:
        """As this region's proposer knows them; as the topology has them while it knows none."""
        try:
            configuration = self._registers.configuration(namespace)
        except Unavailable:
            return self._regions.get(namespace, ())
        return tuple(member.region for member in configuration.members)

    def _backend(self, body: Wire) -> StrongBackend:
        match body:
            case (str() as namespace, *_):
                return self._others.get(namespace, self._homes)
        raise _bad()

    async def _accept(self, peer: str, body: Wire) -> Wire:
        try:
            return encode_reply(await self._acceptor.answer(decode_request(body)))
        except Unreachable as error:
            raise Remote("unreachable", str(error)) from error
        except ValueError as error:
            raise Remote("bad-request", str(error)) from error

    async def _get(self, backend: StrongBackend, body: Wire) -> Wire:
        match body:
            case (str() as namespace, str() as key, (float() | int()) as timeout_s, *_):
                with _told():
                    return encode_versioned(await backend.get(namespace, key, timeout_s=timeout_s))
        raise _bad()

    async def _change(self, backend: StrongBackend, body: Wire) -> Wire:
        match body:
            case (str() as namespace, str() as key, (float() | int()) as timeout_s, change, *_):
                with _told():
                    wanted = decode_change(change)
                    return encode_outcome(await backend.change(namespace, key, wanted, timeout_s=timeout_s))
        raise _bad()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Failures as the caller is to see them."""
    try:
        yield
    except Unavailable as error:
        raise Remote("unavailable", str(error)) from error
    except Unknown as error:
        raise Remote("unknown", str(error)) from error
    except ValueError as error:
        raise Remote("bad-request", str(error)) from error


def _bad() -> Remote:
    return Remote("bad-request", "a call of no known form; update this region")
