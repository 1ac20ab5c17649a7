"""Gateways of two regions that talk to each other with TLS, and tests on both event loops: their TLS differs."""

import asyncio
import contextlib
import functools
import inspect
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ParamSpec

import pytest
import uvloop
from tests.integration.gateways import TOKEN, TOPOLOGY, Replica
from tests.integration.ports import free_port
from tests.integration.topologies import with_regions
from tests.tls_files import Signer, write_tls

from atoll.clock import SystemClock
from atoll.topology.wiring import Address, GatewayWiring, PeerGateway, TlsFiles
from atoll_gateway.gateway import Gateway
from atoll_gateway.run import serving

P = ParamSpec("P")
LOOPS: Mapping[str, Callable[[Coroutine[None, None, None]], None]] = {
    "asyncio": asyncio.run,
    "uvloop": uvloop.run,
}
NEAR, FAR = "us-east", "eu-west"
SERVICE = """
[services.shop]
kind = "origin"
route_prefix = "/shop"
timeout = "30s"
[services.shop.origins]
eu-west = ["http://127.0.0.1:{port}"]
"""


def on_uvloop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        uvloop.run(test(*args, **kwargs))

    return run


def on_both_loops(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Runs a test twice."""
    signature = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = kwargs.pop("loop")
        assert isinstance(loop, str)
        LOOPS[loop](test(*args, **kwargs))

    functools.update_wrapper(run, test)
    run.__dict__["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), loop])
    return pytest.mark.parametrize("loop", LOOPS)(run)


@dataclass(slots=True)
class Pair:
    """The service is in `FAR` alone: what is asked of `NEAR` goes over the link."""

    near: Gateway
    far: Gateway
    origin: Replica
    files: Mapping[str, TlsFiles]

    @property
    def url(self) -> str:
        return f"{self.near.wiring.public.url}/shop/x"

    def healthy(self) -> bool:
        """Whether each trusts the other."""
        return all(
            peer.health.healthy and peer.report is not None
            for gateway in (self.near, self.far)
            for region in gateway.peers.regions
            for peer in gateway.peers.of(region)
        )

    def reason(self) -> str:
        """Why `NEAR` does not trust `FAR`, if it doesn't."""
        (peer,) = self.near.peers.of(FAR)
        return peer.health.reason


@contextlib.asynccontextmanager
async def pair(
    folder: Path, files: Mapping[str, TlsFiles], names: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Pair]:
    """`names` are what gateways call themselves, if not by their region."""
    origin = Replica(FAR)
    await origin.start()
    topology_file = folder / "topology.toml"
    topology = with_regions(TOPOLOGY, (NEAR, FAR), 1).partition("[services.echo]")[0]
    topology += SERVICE.format(port=origin.port) + '[health]\nprobe_interval = "100ms"\nsilence = "3s"\n'
    topology_file.write_text(topology)
    token = folder / "token"
    token.write_text(TOKEN)
    listening = {region: Address("127.0.0.1", free_port()) for region in (NEAR, FAR)}

    def gateway(region: str) -> Gateway:
        other = FAR if region == NEAR else NEAR
        state_dir = folder / f"{region}-state"
        state_dir.mkdir()
        wiring = GatewayWiring(
            name=names.get(region, f"{region}/gateway-1"),
            region=region,
            topology_file=topology_file,
            public=Address("127.0.0.1", free_port()),
            peer=listening[region],
            admin=Address("127.0.0.1", free_port()),
            peers=(PeerGateway(other, f"{other}/gateway-1", listening[other]),),
            public_urls={},
            serve=None,
            state_dir=state_dir,
            peer_token_file=token,
            admin_token_file=token,
            drain_file=None,
            tls=files.get(region),
        )
        return Gateway(wiring, SystemClock(), random.Random(1), None)

    near, far = gateway(NEAR), gateway(FAR)
    try:
        async with (
            serving(near, SystemClock(), random.Random(2)),
            serving(far, SystemClock(), random.Random(3)),
        ):
            yield Pair(near, far, origin, files)
    finally:
        await origin.stop()


def files_of(folder: Path, signer: Signer) -> dict[str, TlsFiles]:
    """Of both regions."""
    return {
        region: write_tls(folder / f"{region}-tls", signer.issue(region), signer.certificate)
        for region in (NEAR, FAR)
    }
