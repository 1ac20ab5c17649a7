"""What a machine must have before it runs a role: everything that is missing is found at once."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from atoll.cell.paths import RAY_PATH_LIMIT
from atoll.node.config import NodeConfig, NodeError
from atoll.node.files import NodeSecrets, RoleFiles
from atoll.secrets import SecretError, read_secret
from atoll.topology import Topology, TopologyError, load
from atoll.topology.problems import Problem, unknown
from atoll.topology.wiring import Address

REPLICAS = ("ray_token", "cache_password", "state_password", "agent_token", "session_key")
"""A machine with replicas has what these reach their state by."""

SECRETS: Mapping[str, tuple[str, ...]] = {
    "head": (*REPLICAS, "gcs_password", "admin_token"),
    "worker": REPLICAS,
    "gateway": ("ray_token", "peer_token", "admin_token", "cache_password", "state_password"),
    "agent": (*REPLICAS, "admin_token"),
    "state": ("state_password",),
    "cache": ("cache_password",),
    "gcs-store": ("gcs_password",),
}
"""Role -> the secrets that it needs, by their names in `NodeSecrets`."""

WITH_RAY = ("head", "worker")

SPEAKING = ("head", "worker", "gateway", "agent")
"""Roles that talk to gateways or agents, and so need a certificate."""

SHORTEST = 16
"""Characters of a secret."""

MAKE_ONE = "make the topology with `atoll topology import`"


def load_topology(config: NodeConfig, files: RoleFiles) -> tuple[Topology, str]:
    """The topology as it is now; if that can't be used, what was taken up here last, and why. Raises `NodeError`."""
    try:
        return load(config.topology), ""
    except TopologyError as error:
        try:
            return load(files.topology), str(error)
        except TopologyError:
            raise NodeError(str(config.topology), list(error.problems)) from error


def check_topology(config: NodeConfig, topology: Topology) -> None:
    """Raises `NodeError` unless the topology says where everything is."""
    if problems := [*_placed(config, topology)]:
        raise NodeError(str(config.topology), problems)


def check_machine(config: NodeConfig, role: str, files: RoleFiles) -> None:
    """Raises `NodeError` unless the role finds its secrets, its certificate where TLS is spoken, room for sockets."""
    secrets = NodeSecrets(config.secrets)
    paths: list[Path] = [getattr(secrets, name) for name in SECRETS[role]]
    problems = [problem for path in paths for problem in _secret(path)]
    if config.domain is not None and role in SPEAKING:
        problems += [
            Problem(
                str(path), "missing", f"put the region's certificate there, or set `tls = false` ({role})"
            )
            for path in (secrets.certificate, secrets.key, secrets.authority)
            if not path.is_file()
        ]
    if config.domain is None and role in SPEAKING and not Address(config.address, 0).loopback:
        remedy = (
            "tokens would cross a network in clear; leave it out and name the `domain` of the certificates"
        )
        problems.append(Problem("tls", "false", remedy))
    length = len(os.fsencode(files.ray))
    if role in WITH_RAY and length > RAY_PATH_LIMIT:
        remedy = f"too long: {files.ray} has {length} bytes, Ray's sockets allow {RAY_PATH_LIMIT} at most"
        problems.append(Problem("data", repr(str(config.data)), remedy))
    if problems:
        raise NodeError(f"role {role}", problems)


def _placed(config: NodeConfig, topology: Topology) -> Iterator[Problem]:
    own = topology.regions.get(config.region)
    if own is None:
        yield unknown("region", config.region, "region of the topology", topology.regions)
        return
    for name, region in topology.regions.items():
        if region.addresses is None:
            yield Problem(f"regions.{name}.addresses", "missing", f"this machine can't find it; {MAKE_ONE}")
    for kind, url in (("cache", own.stores.cache), ("state", own.stores.state)):
        if url is None:
            yield Problem(
                f"regions.{config.region}.stores.{kind}",
                "missing",
                f"machines share it, so name it; {MAKE_ONE}",
            )


def _secret(path: Path) -> Iterator[Problem]:
    try:
        secret = read_secret(path)
    except SecretError as error:
        yield Problem(str(path), "unusable", str(error))
        return
    if len(secret) < SHORTEST:
        yield Problem(str(path), f"{len(secret)} characters long", f"use {SHORTEST} random ones at least")
