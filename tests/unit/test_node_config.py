"""A machine's file, what a role needs, and what its processes are started with."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.node_machines import topology

from atoll.cell.ray_head import PortRange, ray_command, ray_environment
from atoll.cell.valkey import StoreKind, Valkey, render_config
from atoll.cli import main
from atoll.cli.exits import Exit
from atoll.node.build import RoleName
from atoll.node.check import SECRETS, check_machine, check_topology, load_topology
from atoll.node.config import NodeConfig, NodeError, read_node_config
from atoll.node.files import NodeSecrets, RoleFiles
from atoll.node.follow import Following
from atoll.node.notify import Notifier
from atoll.node.wiring import GatewayAt, Node
from atoll.topology import load
from atoll.topology.wiring import Address, PeerGateway

PLACES = {"us-east": "10.1.0.5", "eu-west": "10.2.0.5"}
GOOD = """
schema = "atoll.node/1"
region = "eu-west"
address = "10.2.0.9"
topology = "{folder}/topology.toml"
secrets = "{folder}/secrets"
data = "{folder}/data"
run = "{folder}/run"
domain = "atoll.internal"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "topology.toml").write_text(topology(PLACES, ""))
    path = tmp_path / "node.toml"
    path.write_text(GOOD.format(folder=tmp_path))
    return path


@pytest.fixture
def config(file: Path) -> NodeConfig:
    return read_node_config(file)


@pytest.fixture
def node(config: NodeConfig) -> Node:
    return Node(config, load(config.topology))


def write_secrets(folder: Path) -> None:
    (folder / "tls").mkdir(parents=True)
    for name in ("cert", "key", "ca"):
        (folder / "tls" / f"{name}.pem").write_text("-")
    for name in {name for names in SECRETS.values() for name in names}:
        path: Path = getattr(NodeSecrets(folder), name)
        path.touch(mode=0o600)
        path.write_text("0123456789abcdef")


def test_ports_are_those_of_every_machine_unless_it_says_otherwise(config: NodeConfig, file: Path) -> None:
    assert (config.ports.public, config.ports.admin, config.ports.gcs_store) == (8080, 9901, 6380)
    assert (config.ports.ray.gcs, config.ports.ray.dashboard) == (6381, 8265)
    assert config.ports.ray.ingress_http == PortRange(30000, 30999)
    file.write_text(file.read_text() + "[ports]\ngcs = 7000\nworkers = [20000, 20100]\n")
    other = read_node_config(file).ports.ray
    assert (other.gcs, other.workers, other.dashboard) == (7000, PortRange(20000, 20100), 8265)


def test_the_gateway_is_named_after_the_address_unless_it_has_a_name(config: NodeConfig, file: Path) -> None:
    assert config.gateway == "10.2.0.9"
    file.write_text(file.read_text() + 'gateway = "i-0abc"\n')
    assert read_node_config(file).gateway == "i-0abc"


@pytest.mark.parametrize(
    ("line", "instead", "says"),
    [
        ('schema = "atoll.node/1"', "", "schema is missing: add it"),
        ('region = "eu-west"', 'region = "EU"', "must match"),
        ('address = "10.2.0.9"', 'address = "here"', "address"),
        ('address = "10.2.0.9"', 'address = "0.0.0.0"', "the one address"),
        ('data = "', 'data = ".', "whole path"),
        ('domain = "atoll.internal"', "", "domain is None: certificates are issued under it; name it"),
        ('domain = "atoll.internal"', 'domian = "x"', "did you mean 'domain'"),
        ('domain = "atoll.internal"', "cpus = -1", "cpus"),
        ('domain = "atoll.internal"', "tls = false\n[ports]\nworkers = [9, 8]", "port range 9-8"),
        ('domain = "atoll.internal"', "tls = false\n[ports]\ngcs = 70000", "65535"),
        ('domain = "atoll.internal"', "=", "not TOML"),
    ],
)
def test_a_bad_file_ends_with_2_and_says_what_would_be_right(
    line: str, instead: str, says: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in file.read_text()
    file.write_text(file.read_text().replace(line, instead))
    assert main(["node", "gateway", "--config", str(file)]) == Exit.USAGE
    error = capsys.readouterr().err
    assert says in error
    assert "nothing was started" in error
    assert not (file.parent / "run").exists()


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "head", "--config", str(tmp_path / "none.toml")]) == Exit.USAGE
    assert "none.toml" in capsys.readouterr().err


@pytest.mark.parametrize("role", RoleName)
def test_everything_that_a_role_lacks_is_told_at_once(
    role: RoleName, config: NodeConfig, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["node", role.value, "--check", "--config", str(file)]
    assert main(words) == Exit.USAGE
    error = capsys.readouterr().err
    for name in SECRETS[role]:
        assert str(getattr(NodeSecrets(config.secrets), name)) in error
    assert ("cert.pem" in error) == (role in {"head", "worker", "gateway", "agent"})
    write_secrets(config.secrets)
    config = replace(config, data=Path("/var/lib/atoll"))
    file.write_text(file.read_text().replace(f'data = "{file.parent}/data"', 'data = "/var/lib/atoll"'))
    assert main(words) == Exit.SUCCESS
    assert not config.run.exists()


def test_secrets_that_others_can_read_or_guess_are_refused(config: NodeConfig) -> None:
    write_secrets(config.secrets)
    secrets = NodeSecrets(config.secrets)
    secrets.state_password.chmod(0o644)
    with pytest.raises(NodeError, match="read by others"):
        check_machine(config, "state", RoleFiles(config.run, config.data))
    secrets.cache_password.write_text("short")
    with pytest.raises(NodeError, match="5 characters long") as refused:
        check_machine(config, "cache", RoleFiles(config.run, config.data))
    assert "short" not in str(refused.value)


@pytest.mark.parametrize(("address", "refused"), [("10.2.0.9", True), ("127.2.0.9", False)])
def test_without_tls_nothing_leaves_the_machine(address: str, refused: bool, config: NodeConfig) -> None:
    write_secrets(config.secrets)
    plain = replace(config, domain=None, address=address)
    files = RoleFiles(config.run, config.data)
    check_machine(plain, "state", files)  # the network's own rules are what guards stores
    if refused:
        with pytest.raises(NodeError, match="tls is false: tokens would cross"):
            check_machine(plain, "gateway", files)
    else:
        check_machine(plain, "gateway", files)


def test_a_topology_for_one_machine_is_not_for_many(config: NodeConfig) -> None:
    local = load(Path(__file__).parents[2] / "infra" / "topologies" / "local.toml")
    with pytest.raises(NodeError, match=r"regions\.us-east\.addresses is missing") as refused:
        check_topology(config, local)
    assert "atoll topology import" in str(refused.value)
    assert len(refused.value.problems) == 5  # three regions' addresses, the own two stores
    with pytest.raises(NodeError, match="did you mean 'eu-west'"):
        check_topology(replace(config, region="eu-wets"), local)


def test_after_a_bad_publication_a_role_starts_with_what_was_taken_up(config: NodeConfig) -> None:
    good = config.topology.read_text()
    files = RoleFiles(config.run, config.data)
    files.prepare()
    config.topology.write_text("revision = ")
    with pytest.raises(NodeError, match="not TOML"):
        load_topology(config, files)
    files.topology.write_text(good)
    topology, why = load_topology(config, files)
    assert topology.revision == 1
    assert "not TOML" in why


def test_what_may_not_follow_is_not_taken_up(config: NodeConfig) -> None:
    files = RoleFiles(config.run, config.data)
    files.prepare()
    following = Following(config, load(config.topology), files.topology)
    assert not following.poll()
    text = topology({**PLACES, "ap-northeast": "10.3.0.5"}, "", revision=2)
    config.topology.write_text(
        text.replace("[regions.ap-northeast.addresses]", "[regions.ap-northeast.adresses]")
    )
    assert not following.poll()
    config.topology.write_text(text)
    assert following.poll()
    assert files.topology.read_text() == text
    config.topology.write_text(topology(PLACES, "", revision=1))
    assert not following.poll()  # an older one
    assert following.current.revision == 2
    assert load(files.topology).revision == 2


def test_a_gateway_is_told_of_the_other_regions_by_name_alone(node: Node) -> None:
    sibling = GatewayAt("eu-west/gateway-2", Address("10.2.0.10", 8443), Address("10.2.0.10", 9901))
    wiring = node.gateway_wiring([node.gateway, sibling])
    assert wiring.public == Address("10.2.0.9", 8080)
    assert wiring.peer == Address("10.2.0.9", 8443)
    assert wiring.peers == (PeerGateway("us-east", "us-east/gateways", Address("10.1.0.5", 8443)),)
    assert [one.name for one in wiring.siblings] == ["eu-west/gateway-2"]
    assert wiring.public_urls["us-east"] == ("http://10.1.0.5:8080",)
    assert wiring.serve is not None
    assert wiring.serve.replica_host is None  # replicas are where Serve says
    assert wiring.serve.dashboard == Address("10.2.0.5", 8265)
    assert wiring.tls is not None
    assert wiring.tls.domain == "atoll.internal"
    wiring.check()


def test_the_agent_and_replicas_find_the_stores_with_the_password_of_a_file(node: Node) -> None:
    config = node.agent_config([node.gateway])
    assert config.state.url == "redis://10.2.0.5:6378"
    assert config.state.password_file == node.secrets.state_password
    assert config.peers == {"us-east": Address("10.1.0.5", 8444)}
    assert config.gateways == {"eu-west/gateway-10.2.0.9": Address("10.2.0.9", 9901)}
    assert node.state_wiring.agent == Address("10.2.0.5", 8444)
    assert node.state_wiring.tls == config.tls


def test_ray_s_folder_must_be_short(
    config: NodeConfig, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_secrets(config.secrets)
    file.write_text(file.read_text().replace(str(config.data), "/var/lib/" + "deep/" * 10))
    assert main(["node", "worker", "--check", "--config", str(file)]) == Exit.USAGE
    assert "allow 45 at most" in capsys.readouterr().err


def test_a_head_keeps_its_tables_and_offers_no_processors(node: Node) -> None:
    node = Node(replace(node.config, data=Path("/var/lib/atoll")), node.topology)
    settings = node.ray_settings("head", 0, {})
    words, environment = ray_command(settings), ray_environment(settings)
    assert "--head" in words
    assert "--node-ip-address=10.2.0.9" in words
    assert "--dashboard-host=10.2.0.9" in words
    assert "--num-cpus=0" in words
    assert environment["RAY_REDIS_ADDRESS"] == "127.0.0.1:6380"
    assert environment["RAY_external_storage_namespace"] == "eu-west"
    assert environment["ATOLL_GCS_PASSWORD_FILE"] == str(node.secrets.gcs_password)
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in environment
    assert environment["RAY_AUTH_MODE"] == "token"


def test_a_worker_joins_the_head_and_outlives_it_for_minutes(node: Node) -> None:
    node = Node(replace(node.config, data=Path("/var/lib/atoll")), node.topology)
    settings = node.ray_settings("worker", 4, {})
    words, environment = ray_command(settings), ray_environment(settings)
    assert "--head" not in words
    assert "--address=10.2.0.5:6381" in words
    assert "--num-cpus=4" in words
    assert not [word for word in words if word.startswith(("--port", "--dashboard-port", "--no-monitor"))]
    assert int(environment["RAY_gcs_rpc_server_reconnect_timeout_s"]) >= 600
    assert "RAY_REDIS_ADDRESS" not in environment
    assert environment["ATOLL_STATE"] == str(node.files("worker").state_wiring)


def test_stores_listen_on_the_machine_s_address_with_a_password() -> None:
    server = Valkey(StoreKind.GCS, Address("10.2.0.9", 6380), Path("/data"), 2**30)
    text = render_config(server, "secret")
    assert "bind 10.2.0.9\n" in text
    assert 'requirepass "secret"\n' in text
    assert "appendfsync always\n" in text
    assert f"maxmemory {2**30}\n" in text
    assert text.count("maxmemory ") == 1


def test_systemd_is_told_if_it_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({}).ready("nobody asked")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        notifier = Notifier({"NOTIFY_SOCKET": str(path)})
        notifier.ready("serves")
        notifier.stopping()
        assert told.recv(100) == b"READY=1\nSTATUS=serves"
        assert told.recv(100) == b"STOPPING=1"
        for _ in range(10_000):  # one that doesn't read must not hold the process up
            notifier.status("x")
    assert "can't be told" in caplog.text


async def test_the_watchdog_of_another_process_is_none() -> None:
    await Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).keep_alive()
    await Notifier({}).keep_alive()


def test_nothing_to_drain(config: NodeConfig, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.run / "gateway"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as ended:  # and has left this behind
        ended.bind(str(folder / "control.sock"))
    assert main(["node", "undrain", "--config", str(file)]) == Exit.SUCCESS
    assert main(["node", "drain", "--config", str(file)]) == Exit.FAILED
    assert "no role runs" in capsys.readouterr().err
