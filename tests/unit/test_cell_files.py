"""The run's folder: names, privacy, secrets, the lock, and the wiring that is written into it."""

import asyncio
import stat
from pathlib import Path

import pytest

from atoll.cell.facts import AlreadyRunning, RunLock, is_locked, read_facts, take_lock
from atoll.cell.paths import RAY_PATH_LIMIT, PathTooLong, RunPaths, make_ray_folder
from atoll.cell.ports import plan_ports
from atoll.cell.secrets import ensure_secret
from atoll.cell.valkey import StoreKind, Valkey, render_config
from atoll.cell.wiring import entry_wiring, gateway_wiring, links_config
from atoll.secrets import SecretError, read_secret
from atoll.topology import load
from atoll.topology.wiring import Address, read_gateway_wiring, write_gateway_wiring

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_has_one_name_whatever_link_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "checkout")
    through_link, direct = RunPaths.below(tmp_path / "link"), RunPaths.below(tmp_path / "checkout")
    assert through_link.home == direct.home
    assert len(direct.home) == 12
    assert RunPaths.below(tmp_path).home != direct.home


def test_folders_are_private(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    paths.prepare(("eu-west",))
    for folder in (paths.root, paths.secrets, paths.logs, paths.region("eu-west").state):
        assert _mode(folder) == 0o700


def test_a_path_too_long_for_sockets_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with pytest.raises(PathTooLong, match="shorter path"):
        RunPaths.below(deep).prepare(("eu-west",))
    assert not deep.exists()


def test_ray_s_folder_is_short_and_private_wherever_the_run_is(tmp_path: Path) -> None:
    region = RunPaths.below(tmp_path / ("d" * 50)).region("eu-west")
    region.root.mkdir(parents=True)
    folder = make_ray_folder(region)
    try:
        assert len(str(folder)) <= RAY_PATH_LIMIT
        assert _mode(folder) == 0o700
    finally:
        folder.rmdir()


def test_a_secret_is_private_random_and_stays(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    ensure_secret(one)
    ensure_secret(other)
    secret = read_secret(one)
    ensure_secret(one)
    assert read_secret(one) == secret != read_secret(other)
    assert _mode(one) == 0o600
    assert len(secret) == 64


@pytest.mark.parametrize(("content", "mode"), [("", 0o600), ("s3cret", 0o644), ("s3cret", 0o660)])
def test_an_empty_or_public_secret_is_refused_without_being_shown(
    tmp_path: Path, content: str, mode: int
) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(SecretError) as refusal:
        ensure_secret(path)
    assert "s3cret" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    lock = RunLock(paths)
    assert is_locked(paths)
    with pytest.raises(AlreadyRunning, match="atoll down"):
        RunLock(paths)
    lock.release()
    assert not is_locked(paths)


async def test_a_lock_that_outlives_its_supervisor_by_an_instant_is_waited_for(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    dying = RunLock(paths)
    waiting = asyncio.create_task(take_lock(paths))
    await asyncio.sleep(0)
    assert not waiting.done()
    dying.release()
    async with asyncio.timeout(5):
        (await waiting).release()
    assert not is_locked(paths)


def test_half_written_facts_are_none(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    paths.prepare(())
    paths.facts.write_text('{"run": "a/b", "supervisor"')
    assert read_facts(paths) is None


def test_gateways_reach_the_other_cells_through_links_alone(tmp_path: Path) -> None:
    topology = load(TOPOLOGY)
    plan = plan_ports(topology, 20000)
    paths = RunPaths.below(tmp_path)
    relays = {relay.listen_port: relay for relay in links_config(topology, plan, paths).relays}
    wirings = [gateway_wiring(name, 1, TOPOLOGY, plan, paths) for name in topology.regions]
    for wiring in (*wirings, entry_wiring(TOPOLOGY, plan, paths)):
        source = wiring.region or "entry"
        assert {peer.region for peer in wiring.peers} == set(topology.regions) - {source}
        for peer in wiring.peers:
            relay = relays[peer.address.port]
            assert (relay.source, relay.destination) == (source, peer.region)
            assert relay.target_port == plan.regions[peer.region].gateways[0].peer.port
            assert relay.rtt_ms == (0 if source == "entry" else topology.rtt_ms(source, peer.region))


def test_agents_reach_each_other_through_links_alone(tmp_path: Path) -> None:
    topology = load(TOPOLOGY)
    plan = plan_ports(topology, 20000)
    relays = {relay.listen_port: relay for relay in links_config(topology, plan, RunPaths(tmp_path)).relays}
    for source in topology.regions:
        for destination, address in plan.agents_of(source).items():
            relay = relays[address.port]
            assert (relay.source, relay.destination) == (source, destination)
            assert relay.target_port == plan.regions[destination].agent.port
            assert relay.rtt_ms == topology.rtt_ms(source, destination)


def test_a_wiring_file_can_be_read_back_and_is_private(tmp_path: Path) -> None:
    topology = load(TOPOLOGY)
    wiring = gateway_wiring("eu-west", 1, TOPOLOGY, plan_ports(topology, 20000), RunPaths.below(tmp_path))
    path = tmp_path / "gateway.json"
    write_gateway_wiring(path, wiring)
    assert read_gateway_wiring(path) == wiring
    assert _mode(path) == 0o600


def test_the_state_store_keeps_what_the_cache_forgets() -> None:
    state = _settings(StoreKind.STATE)
    assert state["appendonly"] == "yes"
    assert state["appendfsync"] == "always"
    assert state["aof-load-truncated"] == "no"
    assert state["no-appendfsync-on-rewrite"] == "no"
    assert state["maxmemory-policy"] == "noeviction"
    cache = _settings(StoreKind.CACHE)
    assert cache["appendonly"] == "no"
    assert cache["maxmemory-policy"] == "allkeys-lfu"
    for settings in (state, cache):
        assert settings["bind"] == "127.0.0.1"
        assert settings["requirepass"] == '"pa\\"ss"'
        assert settings["protected-mode"] == "yes"
        assert settings["save"] == '""'


def _settings(kind: StoreKind) -> dict[str, str]:
    server = Valkey(kind, Address("127.0.0.1", 6379), Path("/somewhere with a blank"))
    lines = render_config(server, 'pa"ss').splitlines()
    return dict(line.split(" ", 1) for line in lines)
