"""How a region's replicas and its agent are told of the state, and that a namespace stays at its level."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.agent.config import read_agent_config
from atoll.cell.paths import RunPaths
from atoll.cell.ports import plan_ports
from atoll.cell.processes import ProcessId
from atoll.cell.ray_head import ray_environment
from atoll.cell.specs import agent_spec, ray_settings
from atoll.cell.state_files import kept_namespaces, take_up
from atoll.cell.wiring import WardenConfig, read_warden_config, write_warden_config
from atoll.state.wiring import (
    STATE_VARIABLE,
    NamespaceWiring,
    read_state_wiring,
    state_wiring_file,
    write_state_wiring,
)
from atoll.topology import Backend, Behind, DataType, Durability, Level, SuccessionError, Topology, parse
from atoll.topology.wiring import Address, StoreAccess, WiringError

TEXT = (
    (Path(__file__).parents[2] / "infra" / "topologies" / "residency.toml").read_text()
    + """
[namespaces.carts]
level = "session"
types = ["map"]
residency = ["eu"]
durability = "remote"
max_staleness = "2s"
[namespaces.stock]
level = "strong"
"""
)
CARTS = NamespaceWiring(
    level=Level.SESSION,
    types=(DataType.MAP,),
    durability=Durability.REMOTE,
    holders=("eu-west", "eu-central"),
    behind=Behind.ELSEWHERE,
    max_staleness_s=2.0,
)
STOCK = NamespaceWiring(
    level=Level.STRONG,
    types=(DataType.REGISTER,),
    durability=Durability.MAJORITY,
    holders=("eu-west", "eu-central", "us-east"),
    backend=Backend.REGISTERS,
    acceptors=("eu-central", "eu-west", "us-east"),
)


@pytest.fixture
def topology() -> Topology:
    return parse(TEXT)


@pytest.fixture
def config(tmp_path: Path, topology: Topology) -> WardenConfig:
    paths = RunPaths.below(tmp_path)
    paths.prepare(tuple(topology.regions))
    ports = plan_ports(topology, 20000)
    made = WardenConfig(
        run="a/b",
        region="us-east",
        root=paths.root,
        topology_file=tmp_path / "topology.toml",
        regions=3,
        ports=ports.regions["us-east"],
        agents=ports.agents_of("us-east"),
        ray_folder=Path("/ray"),
        supervisor=ProcessId(1, 1),
        environment={"PATH": "/bin"},
    )
    write_warden_config(tmp_path / "warden.json", made)
    assert read_warden_config(tmp_path / "warden.json") == made
    return made


def test_replicas_are_told_where_their_state_is_and_what_it_promises(
    config: WardenConfig, topology: Topology
) -> None:
    run = RunPaths(config.root)
    files = run.region("us-east")
    take_up(config, topology)
    wiring = read_state_wiring(files.state_wiring)
    assert (wiring.region, wiring.zone) == ("us-east", "us")
    assert wiring.state == StoreAccess(None, config.ports.state, files.state_password)
    assert wiring.cache == StoreAccess(None, config.ports.cache, files.cache_password)
    assert wiring.agent == config.ports.agent
    assert (wiring.agent_token_file, wiring.session_key_file) == (run.agent_token, run.session_key)
    assert wiring.namespaces == {
        "carts": CARTS,
        "stock": STOCK,
    }  # carts has no data here, which replicas can say
    assert (wiring.revision, wiring.digest) == (topology.revision, topology.digest)
    assert stat.S_IMODE(files.state_wiring.stat().st_mode) == 0o600


def test_stores_that_somebody_else_runs_are_named_by_their_address(config: WardenConfig) -> None:
    text = TEXT.replace(
        'title = "Virginia"',
        'title = "Virginia"\nstores.state = "redis://10.0.0.7"\nstores.cache = "redis://10.0.0.8"',
    )
    take_up(config, parse(text))
    wiring = read_state_wiring(RunPaths(config.root).region("us-east").state_wiring)
    assert (wiring.state.url, wiring.cache.url) == ("redis://10.0.0.7", "redis://10.0.0.8")


def test_replicas_find_the_file_by_their_environment(config: WardenConfig, topology: Topology) -> None:
    environment = ray_environment(ray_settings(config, topology.regions["us-east"]))
    assert state_wiring_file(environment) == RunPaths(config.root).region("us-east").state_wiring
    assert state_wiring_file({}) is None
    assert STATE_VARIABLE == "ATOLL_STATE"


def test_the_regions_of_a_run_start_ray_by_turns(config: WardenConfig, topology: Topology) -> None:
    turns = {
        ray_settings(replace(config, region=name), region).start_turn
        for name, region in topology.regions.items()
    }
    assert turns == {RunPaths(config.root).ray_start_lock}


def test_the_agent_is_told_of_its_peers_and_secrets(config: WardenConfig, topology: Topology) -> None:
    run = RunPaths(config.root)
    files = run.region("us-east")
    agent_spec(config, topology.regions["us-east"])
    told = read_agent_config(files.agent_config)
    assert told.listen == config.ports.agent
    assert told.peers == config.agents
    assert told.peers.keys() == {"eu-west", "eu-central"}
    assert (told.agent_token_file, told.session_key_file) == (run.agent_token, run.session_key)
    assert (told.topology_file, told.regions) == (config.topology_file, 3)
    assert told.state_marker == files.state_marker
    assert told.state_marker.parent == files.state.parent, "beside the store's folder, not in it"


def test_another_topology_is_written_over_the_one_before(config: WardenConfig, topology: Topology) -> None:
    take_up(config, topology)
    more = parse(TEXT.replace("revision = 1", "revision = 2") + '[namespaces.prices]\nlevel = "eventual"\n')
    take_up(config, more)
    wiring = read_state_wiring(RunPaths(config.root).region("us-east").state_wiring)
    assert wiring.namespaces.keys() == {"carts", "stock", "prices"}
    assert wiring.revision == 2


def test_a_namespace_that_would_move_to_another_level_is_refused_and_nothing_changes(
    config: WardenConfig, topology: Topology
) -> None:
    take_up(config, topology)
    paths = RunPaths(config.root).region("us-east")
    before = paths.state_wiring.read_bytes()
    moved = parse(
        TEXT.replace('level = "session"', 'level = "eventual"').replace("revision = 1", "revision = 2")
    )
    with pytest.raises(SuccessionError, match=r"namespaces\.carts would move from level 'session'"):
        take_up(config, moved)
    assert paths.state_wiring.read_bytes() == before
    assert kept_namespaces(paths) == {"carts": CARTS, "stock": STOCK}


def test_a_region_without_a_file_or_with_one_of_another_form_was_at_no_level(
    config: WardenConfig, topology: Topology
) -> None:
    paths = RunPaths(config.root).region("us-east")
    assert kept_namespaces(paths) == {}
    paths.state_wiring.write_text('{"region": "us-east"}')
    assert kept_namespaces(paths) == {}
    with pytest.raises(WiringError, match="is no state wiring"):
        read_state_wiring(paths.state_wiring)
    take_up(config, topology)
    assert kept_namespaces(paths).keys() == {"carts", "stock"}


def test_a_state_wiring_can_be_read_back(config: WardenConfig, topology: Topology, tmp_path: Path) -> None:
    take_up(config, topology)
    wiring = read_state_wiring(RunPaths(config.root).region("us-east").state_wiring)
    other = replace(wiring, agent=Address("::1", 7), namespaces={"carts": CARTS})
    write_state_wiring(tmp_path / "other.json", other)
    assert read_state_wiring(tmp_path / "other.json") == other
