"""Records of keys in another region: over the link to a gateway there, which asks its own store."""

import asyncio

from atoll.resilience.health import HealthState
from atoll.resilience.idempotency import Claim, Claimed, Settlement
from atoll_gateway.headers import write_head
from atoll_gateway.keys.contract import KeysUnavailable
from atoll_gateway.keys.wire import CLAIM, PATH, SETTLE, Order, read_report, write_order
from atoll_gateway.peers import Peers
from atoll_gateway.upstream_errors import ConnectFailed, ConnectRefused, UpstreamError

WAIT_S = 1.5
"""The longest that an order waits: a connect over a long link, and the far store's own time to answer."""


class PeerKeys:
    """Another region's records. A region whose gateways are known to be down is not waited for."""

    def __init__(self, region: str, peers: Peers, wait_s: float = WAIT_S) -> None:
        self._region = region
        self._peers = peers
        self._wait_s = wait_s

    async def claim(self, claim: Claim) -> Claimed:
        content = await self._answered(CLAIM, write_order(Order(claim), b""))
        try:
            report, answer = read_report(content)
        except ValueError as error:
            raise KeysUnavailable(f"{self._region} answered nonsense: {error}", sent=True) from error
        if report.standing is None:
            raise KeysUnavailable(f"{self._region} did not say how the key stands", sent=True)
        return Claimed(report.standing, answer)

    async def settle(self, claim: Claim, settlement: Settlement, answer: bytes = b"") -> bool:
        content = await self._answered(SETTLE, write_order(Order(claim, settlement), answer))
        try:
            return read_report(content)[0].settled
        except ValueError as error:
            raise KeysUnavailable(f"{self._region} answered nonsense: {error}", sent=True) from error

    async def _answered(self, order: bytes, content: bytes) -> bytes:
        head = write_head(
            "POST", PATH + order, [(b"host", b"peer"), (b"content-length", b"%d" % len(content))]
        )
        try:
            async with asyncio.timeout(self._wait_s):
                return await self._send(head, content)
        except TimeoutError as error:
            raise KeysUnavailable(
                f"{self._region} gave no answer within {self._wait_s:g} s", sent=True
            ) from error

    async def _send(self, head: bytes, content: bytes) -> bytes:
        tried: frozenset[str] = frozenset()
        while (peer := self._peers.pick(self._region, tried)) is not None:
            if peer.health.state is HealthState.DOWN:
                break
            try:
                answer = await peer.upstream.send(head, content, method="POST")
                reply = await answer.read()
            except ConnectFailed as error:
                if isinstance(error, ConnectRefused):
                    self._peers.refused(peer)
                tried |= {peer.gateway.name}
                continue
            except UpstreamError as error:
                raise KeysUnavailable(f"{self._region}: {error}", sent=error.bytes_sent) from error
            peer.health.heard()
            if answer.status == 200:
                return reply
            undone = answer.status == 503 or 400 <= answer.status < 500
            raise KeysUnavailable(f"{peer.gateway.name} answered {answer.status}", sent=not undone)
        raise KeysUnavailable(f"no gateway of {self._region} can be reached", sent=False)
