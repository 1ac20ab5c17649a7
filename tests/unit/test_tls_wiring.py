"""What passes between cells leaves the machine with TLS alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.tls_files import files_in
from tests.unit.agent_alone import agent_config

from atoll.agent.config import read_agent_config, write_agent_config
from atoll.state.wiring import StateWiring, read_state_wiring, write_state_wiring
from atoll.topology.wiring import (
    Address,
    GatewayWiring,
    PeerGateway,
    StoreAccess,
    WiringError,
    read_gateway_wiring,
    write_gateway_wiring,
)

HOME = Address("127.0.0.1", 8443)
ABROAD = Address("10.2.0.7", 8443)
NAMED = Address("gateways.eu-west.atoll.internal", 8443)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.0.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("gateways.eu-west.atoll.internal", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_what_stays_on_the_machine(host: str, loopback: bool) -> None:
    assert Address(host, 1).loopback is loopback


def gateway(folder: Path) -> GatewayWiring:
    return GatewayWiring(
        name="us-east/gateway-1",
        region="us-east",
        topology_file=folder / "topology.toml",
        public=Address("0.0.0.0", 8080),
        peer=HOME,
        admin=HOME,
        peers=(PeerGateway("eu-west", "eu-west/gateway-1", HOME),),
        public_urls={},
        serve=None,
        state_dir=folder,
        peer_token_file=folder / "token",
        admin_token_file=folder / "token",
        drain_file=None,
    )


def abroad(region: str, address: Address = ABROAD) -> tuple[PeerGateway, ...]:
    return (PeerGateway(region, f"{region}/gateway-1", address),)


def test_gateways(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    at_home = gateway(tmp_path)
    tls = files_in(tmp_path)
    for wiring in (
        replace(at_home, peer=ABROAD),
        replace(at_home, peer=Address("0.0.0.0", 8443)),
        replace(at_home, peers=abroad("eu-west")),
        replace(at_home, peers=abroad("eu-west", NAMED)),
        replace(at_home, siblings=abroad("us-east")),
    ):
        write_gateway_wiring(file, wiring)
        with pytest.raises(WiringError, match="us-east/gateway-1 would send its token in clear"):
            read_gateway_wiring(file)
        write_gateway_wiring(file, replace(wiring, tls=tls))
        assert read_gateway_wiring(file) == replace(wiring, tls=tls)
    write_gateway_wiring(file, at_home)
    assert read_gateway_wiring(file) == at_home
    write_gateway_wiring(file, replace(at_home, region=None, peer=None, name="entry", tls=tls))
    with pytest.raises(WiringError, match="entry has no region"):
        read_gateway_wiring(file)


def test_agents(tmp_path: Path) -> None:
    file = tmp_path / "agent.json"
    at_home = agent_config(tmp_path)
    tls = files_in(tmp_path)
    for config in (replace(at_home, listen=ABROAD), replace(at_home, peers={"us-east": NAMED})):
        write_agent_config(file, config)
        with pytest.raises(WiringError, match="eu-west/agent would send its token in clear over a network"):
            read_agent_config(file)
        write_agent_config(file, replace(config, tls=tls))
        assert read_agent_config(file) == replace(config, tls=tls)
    write_agent_config(file, at_home)
    assert read_agent_config(file) == at_home


def test_replicas(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    store = StoreAccess(address=ABROAD, password_file=tmp_path / "password")
    at_home = StateWiring(
        "eu-west", "eu", store, store, HOME, tmp_path / "a", tmp_path / "b", {}, 1, "digest"
    )
    write_state_wiring(file, at_home)
    assert read_state_wiring(file) == at_home
    write_state_wiring(file, replace(at_home, agent=NAMED))
    with pytest.raises(WiringError, match="eu-west/replica would send its token in clear"):
        read_state_wiring(file)
    secured = replace(at_home, agent=NAMED, tls=files_in(tmp_path))
    write_state_wiring(file, secured)
    assert read_state_wiring(file) == secured
