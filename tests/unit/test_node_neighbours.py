"""How a machine's roles know of each other, and who may ask for an agent's figures."""

from dataclasses import dataclass, field
from typing import cast

import httpx
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from atoll.clock import ManualClock
from atoll.node.directory import EVERY_S, Directory, DirectoryAway
from atoll.node.follow import Neighbours
from atoll.node.metrics import serving
from atoll.node.wiring import GatewayAt
from atoll.topology.wiring import Address


def gateway(name: str) -> GatewayAt:
    return GatewayAt(f"eu-west/gateway-{name}", Address("10.0.0.1", 8443), Address("10.0.0.1", 9901))


class _Store:
    async def aclose(self) -> None:
        pass


@dataclass
class Listed:
    """A directory that may be away."""

    gateways: set[GatewayAt] = field(default_factory=set)
    away: bool = False
    store: _Store = field(default_factory=_Store)

    async def say(self, one: GatewayAt) -> None:
        if self.away:
            raise DirectoryAway("connection refused")
        self.gateways.add(one)

    async def leave(self, one: GatewayAt) -> None:
        await self.say(one)
        self.gateways.discard(one)

    async def present(self) -> tuple[GatewayAt, ...]:
        if self.away:
            raise DirectoryAway("connection refused")
        return tuple(sorted(self.gateways, key=lambda one: one.name))


def neighbours(listed: Listed, clock: ManualClock, own: GatewayAt | None = None) -> Neighbours:
    return Neighbours(cast(Directory, listed), clock, own)


async def test_what_was_known_goes_on_while_the_directory_is_away(caplog: pytest.LogCaptureFixture) -> None:
    listed, clock = Listed({gateway("1")}), ManualClock()
    known = neighbours(listed, clock)
    await known.poll()
    assert known.present == (gateway("1"),)
    listed.away = True
    for _ in range(3):
        clock.now += EVERY_S
        await known.poll()
        assert known.present == (gateway("1"),)
    assert caplog.text.count("not known anew") == 1
    listed.away, listed.gateways = False, {gateway("2")}
    clock.now += EVERY_S
    await known.poll()
    assert known.present == (gateway("2"),)


async def test_it_is_not_asked_more_often_than_it_need_be() -> None:
    listed, clock = Listed(), ManualClock()
    known = neighbours(listed, clock)
    await known.poll()
    listed.gateways = {gateway("1")}
    clock.now += EVERY_S - 0.1
    await known.poll()
    assert known.present == ()
    clock.now += 0.2
    await known.poll()
    assert known.present == (gateway("1"),)


async def test_a_gateway_says_where_it_is_and_takes_itself_out() -> None:
    listed = Listed()
    known = neighbours(listed, ManualClock(), gateway("1"))
    await known.poll()
    assert listed.gateways == {gateway("1")}
    await known.close()
    assert listed.gateways == set()


async def test_a_store_that_is_not_there_is_away() -> None:
    nobody = Directory(Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)))
    for asked in (nobody.say(gateway("1")), nobody.present(), nobody.leave(gateway("1"))):
        with pytest.raises(DirectoryAway):
            await asked
    await nobody.store.aclose()


async def test_figures_are_for_who_has_the_token(unused_tcp_port: int) -> None:
    async def tell() -> bytes:
        return b"up 1\n"

    here = Address("127.0.0.1", unused_tcp_port)
    async with serving(here, "0123456789abcdef", tell), httpx.AsyncClient(trust_env=False) as client:
        url = f"{here.url}/-/metrics"
        assert (await client.get(url)).status_code == 401
        assert (
            await client.get(url, headers={"Authorization": "Bearer 0123456789abcdeg"})
        ).status_code == 401
        for no_base64 in (b"Basic !", b"Basic \xe9"):
            assert (await client.get(url, headers=[(b"Authorization", no_base64)])).status_code == 401
        assert (await client.get(url, auth=("any", "0123456789abcdef"))).text == "up 1\n"
        shown = {"Authorization": "Bearer 0123456789abcdef"}
        assert (await client.get(url, headers=shown)).content == b"up 1\n"
        assert (await client.get(f"{here.url}/", headers=shown)).status_code == 404
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url, headers={"x": "y" * 10_000})
