"""A deployment of one region, for tests of its agent alone."""

from pathlib import Path

from atoll.agent.config import AgentConfig
from atoll.topology.wiring import Address, StoreAccess, write_private

TOPOLOGY = """
schema = "atoll.topology/1"
name = "one"
revision = {revision}
[zones.eu]
countries = ["IE"]
[regions.eu-west]
title = "Ireland"
latitude = 53.3
longitude = -6.3
zone = "eu"
"""


def agent_config(folder: Path, state: StoreAccess | None = None) -> AgentConfig:
    """Of its agent. Without `state` nobody may ask its state store, and nobody its cache store."""
    secret = folder / "secret"
    write_private(secret, b"secret")
    nowhere = Address("127.0.0.1", 9)
    store = StoreAccess(address=nowhere, password_file=secret)
    return AgentConfig(
        region="eu-west",
        socket=folder / "agent.sock",
        gateways={},
        admin_token_file=secret,
        dashboard=nowhere,
        ray_token_file=secret,
        cache=store,
        state=state or store,
        state_marker=folder / "marker.json",
        listen=nowhere,
        peers={},
        agent_token_file=secret,
        session_key_file=secret,
        topology_file=folder / "topology.toml",
    )
