"""What is done before anything of a run is started: check everything, reap leftovers, write secrets and wiring."""

import secrets
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from atoll.cell import processes
from atoll.cell.facts import RunFacts, write_facts
from atoll.cell.links.config import write_links_config
from atoll.cell.paths import RegionPaths, RunPaths, make_ray_folder
from atoll.cell.port_check import check_free
from atoll.cell.ports import ENTRY, PortPlan, plan_ports
from atoll.cell.processes import REGION_VARIABLE, RUN_VARIABLE, ProcessId
from atoll.cell.reap import reap_run
from atoll.cell.secrets import ensure_secret
from atoll.cell.space_check import check_space
from atoll.cell.state_files import kept_namespaces
from atoll.cell.wiring import WardenConfig, entry_wiring, gateway_wiring, links_config, write_warden_config
from atoll.clock import Clock
from atoll.topology import (
    Problem,
    Region,
    SuccessionError,
    Topology,
    TopologyError,
    check_namespaces,
    load,
    read,
)
from atoll.topology.wiring import write_gateway_wiring, write_private

PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH", "VIRTUAL_ENV")
"""What processes get of the supervisor's environment; anything else could change what Ray or Python do."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    topology_file: Path
    regions: int | None
    port_base: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that can be started, or one that runs."""

    wish: Wish
    topology: Topology
    """What gateways go by: without regions that are being added or removed."""
    regions: Mapping[str, Region]
    """All that run, those included."""
    ports: PortPlan
    facts: RunFacts
    environment: Mapping[str, str]
    """Of all processes, the run's mark included."""
    wardens: Mapping[str, WardenConfig]


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
    check_kept(wish.topology_file, paths, topology)
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
        _ensure_secrets(paths.region(name))
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
    wardens = {name: _warden(name, regions, wish, ports, facts, paths, kept) for name in regions}
    write_links_config(paths.links_config, links_config(topology, ports, paths))
    write_wiring(topology, wish, ports, paths, (ENTRY, *regions))
    paths.rollout.unlink(missing_ok=True)  # the first start is no deployment that could be taken back
    for name, config in wardens.items():
        paths.region(name).drain.unlink(missing_ok=True)
        write_warden_config(paths.region(name).warden_config, config)
    return Plan(wish, topology, topology.regions, ports, facts, kept, wardens)


def extend(paths: RunPaths, plan: Plan, wish: Wish, topology: Topology) -> Plan:
    """A plan that runs, with the regions of `topology` that it lacks, whose files are written. The others know nothing
    of them yet: `topology` is not in force.

    Raises `PortsError`, `NoSpaceError`, `PathTooLong`, `SecretError`, `OSError`.
    """
    fresh = tuple(name for name in topology.regions if name not in plan.regions)
    ports = plan_ports(topology, wish.port_base, plan.ports)
    check_free(ports, topology, besides=plan.ports)
    check_space(paths.root, len(fresh))
    _forget_regions(paths, {name: topology.regions[name] for name in fresh})
    paths.prepare(fresh)
    for name in fresh:
        _ensure_secrets(paths.region(name))
        paths.region(name).drain.unlink(missing_ok=True)
    folders = {name: make_ray_folder(paths.region(name)) for name in fresh}
    facts = replace(plan.facts, ray_folders={**plan.facts.ray_folders, **folders})
    write_facts(paths, facts)
    members = tuple(topology.regions)
    wardens = {name: _warden(name, members, wish, ports, facts, paths, plan.environment) for name in members}
    for name in members:
        write_warden_config(paths.region(name).warden_config, wardens[name])
    write_wiring(topology, wish, ports, paths, fresh)
    write_links_config(paths.links_config, links_config(topology, ports, paths))
    write_private(paths.topology, read(wish.topology_file).encode())
    return replace(
        plan,
        wish=wish,
        regions=MappingProxyType({**plan.regions, **topology.regions}),
        ports=ports,
        facts=facts,
        wardens=MappingProxyType(wardens),
    )


def shrink(paths: RunPaths, plan: Plan, topology: Topology) -> Plan:
    """A plan without the regions that `topology` lacks and that have ended; nothing of them is left, their embedded
    stores included. Raises `OSError`.
    """
    ports = plan_ports(topology, plan.wish.port_base, plan.ports)
    gone = [name for name in plan.regions if name not in topology.regions]
    for name in gone:
        shutil.rmtree(plan.facts.ray_folders[name], ignore_errors=True)
        _remove(paths.region(name), keep_marker=plan.regions[name].stores.state is not None)
    kept = {name: folder for name, folder in plan.facts.ray_folders.items() if name not in gone}
    facts = replace(plan.facts, ray_folders=kept)
    write_facts(paths, facts)
    write_links_config(paths.links_config, links_config(topology, ports, paths))
    write_private(paths.topology, read(plan.wish.topology_file).encode())
    return replace(plan, regions=topology.regions, ports=ports, facts=facts)


def _remove(region: RegionPaths, *, keep_marker: bool) -> None:
    """Removes what a region has in the run's folder. The marker belongs to its store, and stays where that one does."""
    marker = region.state_marker.read_bytes() if keep_marker and region.state_marker.exists() else None
    shutil.rmtree(region.root)
    if marker is not None:
        region.root.mkdir(mode=0o700)
        write_private(region.state_marker, marker)


def rewire_wardens(paths: RunPaths, plan: Plan, members: tuple[str, ...], linked: tuple[str, ...]) -> Plan:
    """A plan whose member regions know each other alone, with links between those that are `linked`; its wardens'
    files are written. Regions that are no members stay as they are. Raises `OSError`.
    """
    wardens = dict(plan.wardens)
    for name in members:
        agents = {other: at for other, at in plan.ports.agents_of(name).items() if other in linked}
        wardens[name] = replace(wardens[name], members=members, agents=agents, regions=plan.wish.regions)
        write_warden_config(paths.region(name).warden_config, wardens[name])
    return replace(
        plan, wardens=MappingProxyType({name: wardens[name] for name in wardens if name in linked})
    )


def check_kept(file: Path, paths: RunPaths, topology: Topology) -> None:
    """The stores have their data from earlier runs. Raises `TopologyError`."""
    for name in topology.regions:
        try:
            check_namespaces(kept_namespaces(paths.region(name)), topology.namespaces)
        except SuccessionError as error:
            remedy = f"{error}; to begin without any of the data, remove {paths.root}"
            raise TopologyError(file, [Problem("(file)", "", remedy)]) from error


def _ensure_secrets(region: RegionPaths) -> None:
    for secret in (region.ray_token, region.cache_password, region.state_password):
        ensure_secret(secret)


def _forget(paths: RunPaths, topology: Topology) -> None:
    """What gateways of an earlier run kept says nothing about this one."""
    shutil.rmtree(paths.entry_state, ignore_errors=True)
    _forget_regions(paths, topology.regions)


def _forget_regions(paths: RunPaths, regions: Mapping[str, Region]) -> None:
    for name, region in regions.items():
        for number in range(1, region.gateways + 1):
            shutil.rmtree(paths.region(name).gateway_state(number), ignore_errors=True)


def _warden(
    region: str,
    members: tuple[str, ...],
    wish: Wish,
    ports: PortPlan,
    facts: RunFacts,
    paths: RunPaths,
    environment: Mapping[str, str],
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
        members=members,
    )


def write_wiring(
    topology: Topology, wish: Wish, ports: PortPlan, paths: RunPaths, names: Collection[str]
) -> None:
    """Tells the gateways of some regions (`ENTRY`: the entry) of all those of the plan. One that runs takes it up by
    itself. Raises `OSError`.
    """
    if ENTRY in names:
        write_gateway_wiring(paths.entry_wiring, entry_wiring(wish.topology_file, ports, paths, wish.regions))
    for name, region in topology.regions.items():
        for number in range(1, len(ports.regions[name].gateways) + 1) if name in names else ():
            wiring = gateway_wiring(
                name, number, wish.topology_file, ports, paths, wish.regions, region.stores
            )
            write_gateway_wiring(paths.region(name).gateway_wiring(number), wiring)
