"""What is done before anything of a run is started: check everything, reap leftovers, write secrets and wiring."""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from atoll.cell import processes
from atoll.cell.facts import RunFacts, write_facts
from atoll.cell.links.config import write_links_config
from atoll.cell.paths import RunPaths, make_ray_folder
from atoll.cell.port_check import check_free
from atoll.cell.ports import PortPlan, plan_ports
from atoll.cell.processes import REGION_VARIABLE, RUN_VARIABLE, ProcessId
from atoll.cell.reap import reap_run
from atoll.cell.secrets import ensure_secret
from atoll.cell.space_check import check_space
from atoll.cell.state_files import kept_namespaces
from atoll.cell.wiring import WardenConfig, entry_wiring, gateway_wiring, links_config, write_warden_config
from atoll.clock import Clock
from atoll.topology import Problem, SuccessionError, Topology, TopologyError, check_namespaces, load, read
from atoll.topology.wiring import write_gateway_wiring, write_private

PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH", "VIRTUAL_ENV")
"""What processes get of the supervisor's environment; anything else could change what Ray or Python do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that can be started."""

    topology: Topology
    topology_file: Path
    ports: PortPlan
    facts: RunFacts
    environment: Mapping[str, str]
    """Of all processes, the run's mark included."""
    wardens: Mapping[str, WardenConfig]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    topology_file: Path
    regions: int | None
    port_base: int | None


def check(wish: Wish) -> tuple[Topology, PortPlan]:
    """Reads the topology and gives out the ports; touches nothing. Raises `TopologyError`, `PortsError`."""
    topology = load(wish.topology_file, regions=wish.regions)
    return topology, plan_ports(topology, wish.port_base)


async def prepare(
    paths: RunPaths, wish: Wish, environment: Mapping[str, str], supervisor: ProcessId, clock: Clock
) -> Plan:
    """Makes a run ready to be started. The caller holds the folder's lock, so what an earlier run left is orphaned: it
    is reaped, and only then are the ports tried.

    Raises `TopologyError`, `PortsError`, `PathTooLong`, `SecretError`, `StillRunningError`, `NoSpaceError`, `OSError`.
    """
    processes.require_linux()
    topology, ports = check(wish)
    _check_namespaces(wish.topology_file, paths, topology)
    regions = tuple(topology.regions)
    await reap_run(paths)
    check_free(ports, topology)
    check_space(paths.root, len(regions))
    _forget(paths, topology)
    paths.prepare(regions)
    write_private(paths.topology, read(wish.topology_file).encode())
    for secret in (paths.peer_token, paths.admin_token, paths.agent_token, paths.session_key):
        ensure_secret(secret)
    for name in regions:
        region = paths.region(name)
        for secret in (region.ray_token, region.cache_password, region.state_password):
            ensure_secret(secret)
    facts = RunFacts(
        run=f"{paths.home}/{secrets.token_hex(4)}",
        supervisor=supervisor,
        started_at=datetime.fromtimestamp(clock.wall(), UTC).isoformat(timespec="seconds"),
        topology_file=str(wish.topology_file),
        port_base=wish.port_base,
        entry_url=ports.entry_public.url,
        ray_folders={name: make_ray_folder(paths.region(name)) for name in regions},
    )
    write_facts(paths, facts)
    kept = {name: environment[name] for name in PASSED_ON if name in environment} | {RUN_VARIABLE: facts.run}
    wardens = {name: _warden(name, wish, ports, facts, paths, kept) for name in regions}
    _write_wiring(topology, wish, ports, paths)
    paths.rollout.unlink(missing_ok=True)  # the first start is no deployment that could be taken back
    for name, config in wardens.items():
        paths.region(name).drain.unlink(missing_ok=True)
        write_warden_config(paths.region(name).warden_config, config)
    return Plan(topology, wish.topology_file, ports, facts, kept, wardens)


def _check_namespaces(file: Path, paths: RunPaths, topology: Topology) -> None:
    """The stores have their data from earlier runs. Raises `TopologyError`."""
    for name in topology.regions:
        try:
            check_namespaces(kept_namespaces(paths.region(name)), topology.namespaces)
        except SuccessionError as error:
            remedy = f"{error}; to begin without any of the data, remove {paths.root}"
            raise TopologyError(file, [Problem("(file)", "", remedy)]) from error


def _forget(paths: RunPaths, topology: Topology) -> None:
    """What gateways of an earlier run kept says nothing about this one."""
    shutil.rmtree(paths.entry_state, ignore_errors=True)
    for name, region in topology.regions.items():
        for number in range(1, region.gateways + 1):
            shutil.rmtree(paths.region(name).gateway_state(number), ignore_errors=True)


def _warden(
    region: str, wish: Wish, ports: PortPlan, facts: RunFacts, paths: RunPaths, environment: Mapping[str, str]
) -> WardenConfig:
    return WardenConfig(
        run=facts.run,
        region=region,
        root=paths.root,
        topology_file=wish.topology_file,
        regions=wish.regions,
        ports=ports.regions[region],
        agents=ports.agents_of(region),
        ray_folder=facts.ray_folders[region],
        supervisor=facts.supervisor,
        environment={**environment, REGION_VARIABLE: region},
    )


def _write_wiring(topology: Topology, wish: Wish, ports: PortPlan, paths: RunPaths) -> None:
    write_links_config(paths.links_config, links_config(topology, ports, paths))
    write_gateway_wiring(paths.entry_wiring, entry_wiring(wish.topology_file, ports, paths, wish.regions))
    for name, region in topology.regions.items():
        for number in range(1, region.gateways + 1):
            wiring = gateway_wiring(
                name, number, wish.topology_file, ports, paths, wish.regions, region.stores
            )
            write_gateway_wiring(paths.region(name).gateway_wiring(number), wiring)
