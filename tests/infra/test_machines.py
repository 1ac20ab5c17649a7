"""Machines start themselves: the rendered start-up runs here against a scratch root and a rehearsed cloud."""

import contextlib
import getpass
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.infra.cloud import Cloud
from tests.infra.machine import SOURCE, Machine, cloud_config, surroundings, user_data, wheel

from atoll.node.check import SECRETS
from atoll.node.config import read_node_config

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("terraform") is None, reason="not here: terraform, 1.11 or newer"),
]

AWS_REGION = "eu-west-1"
BUCKET = "atoll-test-eu-west"
KINDS = {
    "head": ["gcs-store", "head"],
    "workers": ["worker"],
    "gateways": ["gateway"],
    "state": ["state", "agent", "cache"],
}
OWN = ["ray-token", "admin-token", "state-password", "cache-password", "gcs-password", "tls"]
SHARED = ["agent-token", "peer-token", "session-key", "tls-ca"]
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nc2hvcA==\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\na2V5\n-----END PRIVATE KEY-----\n"
VALUES = {"tls": CERTIFICATE + CERTIFICATE + KEY, "tls-ca": CERTIFICATE}


def variables(machine: str, **more: object) -> dict[str, object]:
    return {
        "machine": machine,
        "region": "eu-west",
        "domain": "atoll.internal",
        "aws_region": AWS_REGION,
        "group": f"atoll-test-eu-west-{machine}",
        "roles": KINDS[machine],
        "drain_s": 90 if machine in {"workers", "gateways"} else 0,
        "release": {"bucket": BUCKET, "version": "0.0.1", "requirements_sha256": "0" * 64},
        "secrets": {kind: secret_name(kind) for kind in (*OWN, *SHARED)},
        "zone_id": "Z0",
        "names": [],
        "log_group": f"/atoll/test/eu-west/{machine}",
        "metrics": "Atoll",
        **more,
    }


def secret_name(kind: str) -> str:
    return f"atoll/test/eu-west/{kind}" if kind in OWN else f"atoll/test/{kind}"


@dataclass(frozen=True, slots=True)
class Region:
    """What a region has before its first machine starts."""

    cloud: Cloud
    folder: Path
    zone_id: str
    requirements_sha256: str

    def client(self, service: str) -> Any:
        return self.cloud.client(service, AWS_REGION)

    def publish(self, topology: str) -> None:
        self.client("s3").put_object(Bucket=BUCKET, Key="topology.toml", Body=topology.encode())

    def put(self, kind: str, value: str) -> None:
        self.client("secretsmanager").put_secret_value(SecretId=secret_name(kind), SecretString=value)

    def variables(self, machine: str, **more: object) -> dict[str, object]:
        release = {
            "bucket": BUCKET,
            "version": "0.0.1",
            "requirements_sha256": self.requirements_sha256,
            "free_mib": 1,
        }
        machine_itself = {"user": getpass.getuser(), "python": sys.executable}
        return variables(machine, **{"release": release, "zone_id": self.zone_id, **machine_itself, **more})


@pytest.fixture(scope="module")
def region(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Region:
    folder = tmp_path_factory.mktemp("region")
    path, requirements = wheel(folder)
    s3 = cloud.client("s3", AWS_REGION)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": AWS_REGION})
    s3.upload_file(str(path), BUCKET, f"releases/0.0.1/{path.name}")
    s3.put_object(Bucket=BUCKET, Key="releases/0.0.1/requirements.txt", Body=requirements.encode())
    zone = cloud.client("route53").create_hosted_zone(
        Name="eu-west.atoll.internal", CallerReference="eu-west"
    )
    made = Region(
        cloud,
        folder,
        zone["HostedZone"]["Id"].split("/")[-1],
        hashlib.sha256(requirements.encode()).hexdigest(),
    )
    made.publish("revision = 1\n")
    secrets = made.client("secretsmanager")
    for kind in (*OWN, *SHARED):
        secrets.create_secret(Name=secret_name(kind), SecretString=VALUES.get(kind, f"the {kind}"))
    return made


@pytest.fixture
def build(region: Region, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Machines of the region, before their first boot."""
    with surroundings(region.cloud, AWS_REGION) as around:
        yield lambda kind, **more: new_machine(region, tmp_path, around, kind, **more)


def new_machine(region: Region, folder: Path, around: Any, kind: str, **more: object) -> Machine:
    around.metadata.update(
        {
            "placement/region": AWS_REGION,
            "instance-id": "i-0123456789abcdef0",
            "local-ipv4": "10.1.16.7",
        }
    )
    config = cloud_config(user_data(folder / "terraform", **region.variables(kind, **more)))
    return Machine.unpacked(folder / "root", around, config)


@pytest.fixture(scope="module")
def gateway(region: Region) -> Iterator[Machine]:
    """A gateway that has started once; tests leave it as it was."""
    with surroundings(region.cloud, AWS_REGION) as around:
        machine = new_machine(
            region, region.folder / "gateway", around, "gateways", names=["gw.eu-west.atoll.internal"]
        )
        done = machine.start()
        assert done.returncode == 0, done.stderr
        yield machine


@pytest.mark.parametrize("kind", KINDS)
def test_the_user_data_is_small_and_holds_the_machines_own_units_and_no_secret(
    kind: str, tmp_path: Path
) -> None:
    data = user_data(tmp_path, **variables(kind))
    assert len(data) < 16 * 1024
    config = cloud_config(data)
    files = {file["path"]: file["content"] for file in config["write_files"]}
    for role in KINDS[kind]:
        assert f"/etc/systemd/system/atoll@{role}.service.d/limits.conf" in files
        assert f"atoll@{role}.service" in files["/etc/systemd/system/atoll-ready.service.d/roles.conf"]
        assert set(config["runcmd"][-1]) > {f"atoll@{role}.service"}
    assert ("/etc/systemd/system/atoll-drain.service" in files) == (kind in {"workers", "gateways"})
    assert "WatchdogSec=" in files["/etc/systemd/system/atoll@.service"]
    assert "OnCalendar=*:0/5" in files["/etc/systemd/system/logrotate.timer.d/atoll.conf"]
    assert "logrotate.timer" in config["runcmd"][-1]
    json.loads(files["/etc/atoll/cloudwatch.json"])
    assert "PRIVATE KEY-----" not in str(files).replace("/usr/local/lib/atoll/start.sh", "")


def test_the_first_start_makes_all_that_a_role_needs(gateway: Machine, region: Region) -> None:
    node = read_node_config(gateway.path("etc/atoll/node.toml"))
    assert (node.region, node.address, node.gateway) == ("eu-west", "10.1.16.7", "i-0123456789abcdef0")
    assert node.domain == "atoll.internal" and node.topology == gateway.path("etc/atoll/topology.toml")
    assert node.topology.read_text() == "revision = 1\n"
    for kind in (*OWN, *SHARED):
        if not kind.startswith("tls"):
            assert gateway.read(f"run/atoll/secrets/{kind}") == f"the {kind}\n"
    assert gateway.read("run/atoll/secrets/tls/cert.pem") == CERTIFICATE * 2
    assert gateway.read("run/atoll/secrets/tls/key.pem") == KEY
    assert gateway.read("run/atoll/secrets/tls/ca.pem").strip() == CERTIFICATE.strip()
    held = [path for path in gateway.path("run/atoll/secrets").rglob("*") if path.is_file()]
    assert len(held) == len(OWN) + len(SHARED) + 1  # a pair is two files
    assert {path.stat().st_mode & 0o777 for path in held} == {0o400}
    assert gateway.path("opt/atoll/current/bin/atoll").is_file()
    records = region.client("route53").list_resource_record_sets(HostedZoneId=region.zone_id)[
        "ResourceRecordSets"
    ]
    assert [r["ResourceRecords"] for r in records if r["Name"].startswith("gw.")] == [
        [{"Value": "10.1.16.7"}]
    ]
    assert json.loads(gateway.read("etc/atoll/figures.json"))[0]["targets"] == ["10.1.16.7:9901"]


def test_every_role_finds_its_secrets_among_those_of_its_machine() -> None:
    """What `atoll node` needs, by the region module's own list."""
    text = (SOURCE.parent / "terraform" / "modules" / "region" / "locals.tf").read_text()
    for kind, roles in KINDS.items():
        listed = text[text.index(f"    {kind} = {{") :]
        listed = listed[: listed.index("    }\n")]
        for role in roles:
            missing = [name for name in SECRETS[role] if f'"{name.replace("_", "-")}"' not in listed]
            assert not missing, f"{role} on {kind} lacks {missing}"


def test_a_second_start_changes_nothing(gateway: Machine) -> None:
    before = gateway.snapshot()
    done = gateway.start()
    assert done.returncode == 0, done.stderr
    assert gateway.snapshot() == before

    # Without the comparison, every file would be another.
    script = gateway.path("usr/local/lib/atoll/start.sh")
    text = script.read_text()
    compare = 'if cmp -s "$new" "$1"; then'
    assert compare in text
    script.write_text(text.replace(compare, "if false; then"))
    try:
        assert gateway.start().returncode == 0
        after = gateway.snapshot()
        assert len({path for path in before if after[path] != before[path]}) > len(SHARED + OWN)
    finally:
        script.write_text(text)


def test_names_that_are_right_already_need_nobody(gateway: Machine) -> None:
    """A reboot works while nobody takes changes of names."""
    getent = gateway.path("bin/getent")
    try:
        for found, changes in ("10.1.16.7", 0), ("10.1.16.8", 1):
            getent.write_text(
                f'#!/bin/sh\n[ "$*" = "ahostsv4 gw.eu-west.atoll.internal" ] && echo "{found} STREAM"\n'
            )
            getent.chmod(0o755)
            gateway.around.calls.clear()
            done = gateway.start()
            assert done.returncode == 0, done.stderr
            assert len([call for call in gateway.around.calls if call[0] == "route53"]) == changes
    finally:
        getent.unlink()


def test_a_new_secret_replaces_its_own_file_alone(gateway: Machine, region: Region) -> None:
    before = gateway.snapshot()
    region.put("peer-token", "another")
    try:
        assert gateway.start("secrets").returncode == 0
        after = gateway.snapshot()
        changed = {path for path in before if after[path] != before[path]}
        assert changed == {str(gateway.path("run/atoll/secrets/peer-token"))}
        assert gateway.read("run/atoll/secrets/peer-token") == "another\n"
    finally:
        region.put("peer-token", "the peer-token")
        assert gateway.start("secrets").returncode == 0


@pytest.mark.parametrize(("kind", "value"), [("tls", CERTIFICATE), ("session-key", " ")])
def test_a_secret_that_is_no_use_changes_nothing(
    gateway: Machine, region: Region, kind: str, value: str
) -> None:
    before = gateway.snapshot()
    region.put(kind, value.strip() or "\n")
    try:
        done = gateway.start("secrets")
        assert done.returncode != 0 and "kept" in done.stderr
        assert gateway.snapshot() == before
    finally:
        region.put(kind, VALUES.get(kind, f"the {kind}"))


def test_a_topology_with_a_mistake_is_refused_and_a_new_one_taken_up(
    gateway: Machine, region: Region
) -> None:
    before = gateway.snapshot()
    region.publish("mistake = 1\n")
    done = gateway.start("topology")
    assert done.returncode != 0 and "refused" in done.stderr and "a mistake" in done.stderr
    assert gateway.read("etc/atoll/topology.toml") == "revision = 1\n"
    region.publish("revision = 2\n")
    assert gateway.start("topology").returncode == 0
    assert gateway.read("etc/atoll/topology.toml") == "revision = 2\n"
    region.publish("revision = 1\n")
    assert gateway.start("topology").returncode == 0
    assert {path for path, facts in gateway.snapshot().items() if before.get(path) != facts} == {
        str(gateway.path("etc/atoll/topology.toml"))
    }


def test_without_a_network_it_says_what_it_cannot_reach_and_keeps_what_it_has(gateway: Machine) -> None:
    before = gateway.snapshot()
    done = gateway.start(ATOLL_IMDS="http://127.0.0.1:9")
    assert done.returncode != 0 and "metadata service at http://127.0.0.1:9" in done.stderr
    command = gateway.path("bin/aws")
    text = command.read_text()
    command.write_text("#!/bin/sh\necho 'Could not connect to the endpoint URL' >&2; exit 255\n")
    try:
        for what in ("topology", "secrets"):
            done = gateway.start(what)
            assert done.returncode != 0 and "endpoint URL" in done.stderr
    finally:
        command.write_text(text)
    after = gateway.snapshot()
    assert {path for path in before if before[path] != after[path]} == {str(command)}


def test_a_machine_of_another_region_is_refused(gateway: Machine) -> None:
    gateway.around.metadata["placement/region"] = "us-east-1"
    try:
        done = gateway.start()
        assert done.returncode != 0
        assert "in us-east-1" in done.stderr and "for eu-west-1" in done.stderr
    finally:
        gateway.around.metadata["placement/region"] = AWS_REGION


def test_requirements_with_another_hash_are_not_installed(
    build: Callable[..., Machine], region: Region
) -> None:
    release = {"bucket": BUCKET, "version": "0.0.1", "requirements_sha256": "0" * 64, "free_mib": 1}
    machine = build("gateways", release=release)
    done = machine.start()
    assert done.returncode != 0 and "hash differs" in done.stderr
    assert [path.name for path in machine.path("opt/atoll").iterdir()] == []


def test_a_disk_without_room_for_the_release_says_so(build: Callable[..., Machine], region: Region) -> None:
    release = {**region.variables("gateways")["release"], "free_mib": 10**9}  # type: ignore[dict-item]
    machine = build("gateways", release=release)
    done = machine.start()
    assert done.returncode != 0 and "release 0.0.1 needs 1000000000" in done.stderr


def test_a_full_disk_keeps_what_there_was(gateway: Machine, region: Region, tmp_path: Path) -> None:
    """The configuration's folder becomes a file system of 1 MiB that is full."""
    etc = gateway.path("etc/atoll")
    saved = shutil.copytree(etc, tmp_path / "etc")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "full", etc], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("not here: the right to mount a file system")
    try:
        shutil.copytree(saved, etc, dirs_exist_ok=True)
        fill(etc / "filler")
        region.publish("revision = 3\n" * 1000)
        done = gateway.start("topology")
        assert done.returncode != 0 and "is the disk full" in done.stderr
        assert gateway.read("etc/atoll/topology.toml") == "revision = 1\n"
        assert [path.name for path in etc.iterdir() if path.name.startswith("topology.toml.")] == []
    finally:
        subprocess.run(["umount", etc], check=True)
        region.publish("revision = 1\n")


def fill(path: Path) -> None:
    """Writes until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_it_waits_for_a_secret_that_comes_later(gateway: Machine, region: Region) -> None:
    secrets = region.client("secretsmanager")
    secrets.delete_secret(SecretId=secret_name("admin-token"), ForceDeleteWithoutRecovery=True)
    done = gateway.start()
    assert done.returncode != 0 and "secret atoll/test/eu-west/admin-token has no value" in done.stderr
    waiting = gateway.begin("start.sh", "wait")
    asked = len(gateway.around.calls)
    eventually(lambda: len(gateway.around.calls) > asked + 6)
    assert waiting.poll() is None
    secrets.create_secret(Name=secret_name("admin-token"), SecretString="the admin-token")
    waiting.communicate(timeout=300)
    assert waiting.returncode == 0
    assert gateway.read("run/atoll/secrets/admin-token") == "the admin-token\n"


def test_the_group_is_told_once_that_the_machine_counts(gateway: Machine) -> None:
    gateway.around.calls.clear()
    for _ in range(2):
        assert gateway.start("ready").returncode == 0
    (call,) = [call for call in gateway.around.calls if call[0] == "autoscaling"]
    assert {"atoll-test-eu-west-gateways", "ready", "i-0123456789abcdef0", "CONTINUE"} <= set(call)
    gateway.path("opt/atoll/.launched").unlink()


# --- A machine that keeps something


@pytest.fixture
def keeper(build: Callable[..., Machine], region: Region) -> Iterator[Machine]:
    """A state machine with a release, before its first boot; its volume is there, and not attached."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("not here: root, and mkfs.ext4")
    ec2 = region.client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    zone = instance["Placement"]["AvailabilityZone"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=4)["VolumeId"]
    machine = build("state", volume=volume, volume_wait_s=20, names=["state.eu-west.atoll.internal"])
    machine.around.metadata["instance-id"] = instance["InstanceId"]
    release = machine.path("opt/atoll/0.0.1")
    (release / "bin").mkdir(parents=True)
    (release / ".complete").write_text(region.requirements_sha256)
    (release / "bin" / "atoll").write_text("#!/bin/sh\n")
    (release / "bin" / "atoll").chmod(0o755)
    yield machine
    subprocess.run(["umount", machine.path("var/lib/atoll")], capture_output=True, check=False)


def device_of(machine: Machine) -> Path:
    settings = machine.read("etc/atoll/start.conf")
    volume = settings.split("ATOLL_VOLUME='")[1].split("'")[0]
    device = machine.path(f"dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}")
    device.parent.mkdir(parents=True, exist_ok=True)
    return device


def plug(device: Path, content: bytes = b"") -> None:
    """The kernel shows the volume."""
    made = device.with_suffix(".made")
    with made.open("wb") as file:
        file.write(content)
        file.truncate(16 * 2**20)
    made.rename(device)


def test_it_attaches_formats_and_mounts_its_volume_and_never_formats_it_again(
    keeper: Machine, region: Region
) -> None:
    device = device_of(keeper)
    starting = keeper.begin("start.sh")
    eventually(lambda: any(call[:2] == ["ec2", "attach-volume"] for call in keeper.around.calls))
    plug(device)
    error = starting.communicate(timeout=300)[1]
    if "mount" in error and "permitted" in error:
        pytest.skip("not here: the right to mount a file system")
    assert starting.returncode == 0, error
    (volume,) = region.client("ec2").describe_volumes(Filters=[{"Name": "size", "Values": ["4"]}])["Volumes"]
    assert volume["Attachments"][0]["InstanceId"] == keeper.around.metadata["instance-id"]
    data = keeper.path("var/lib/atoll")
    assert data.is_mount()
    (data / "kept").write_text("yes")
    os.chown(data / "kept", 4242, 4242)  # the machine before had another image, and other numbers of users

    assert keeper.start().returncode == 0  # a reboot that finds it mounted
    subprocess.run(["umount", data], check=True)
    done = keeper.start()  # the next machine
    assert done.returncode == 0 and "gets a file system" not in done.stderr
    assert (data / "kept").read_text() == "yes"
    assert (data / "kept").stat().st_uid == os.geteuid()


def test_a_volume_with_something_else_on_it_is_left_alone(keeper: Machine) -> None:
    device = device_of(keeper)
    plug(device, b"somebody's data" * 100)
    before = device.read_bytes()
    done = keeper.start()
    assert done.returncode != 0 and "nothing on it was changed" in done.stderr
    assert device.read_bytes() == before

    # Without the look at it, it would have been lost.
    script = keeper.path("usr/local/lib/atoll/start.sh")
    look = 'cmp -s -n 1048576 "$1" /dev/zero'
    assert look in script.read_text()
    script.write_text(script.read_text().replace(look, "true"))
    keeper.start()
    assert device.read_bytes() != before


# --- Machines that go


NOTICES = {
    "spot/instance-action": '{"action":"terminate"}',
    "events/recommendations/rebalance": '{"noticeTime":"2026-11-21T00:00:00Z"}',
    "autoscaling/target-lifecycle-state": "Terminated",
}


@pytest.mark.parametrize("notice", NOTICES)
@pytest.mark.parametrize("status", [0, 3])
def test_a_notice_drains_the_machine_once_and_its_group_is_told(
    gateway: Machine, notice: str, status: int
) -> None:
    metadata = gateway.around.metadata
    metadata["autoscaling/target-lifecycle-state"] = "InService"
    gateway.around.calls.clear()
    gateway.path("atoll.log").unlink(missing_ok=True)
    gateway.path("atoll.status").write_text(str(status))
    watching = gateway.begin("drain.sh")
    try:
        time.sleep(0.5)  # without a notice nothing happens
        assert gateway.asked() == [] and watching.poll() is None
        metadata[notice] = NOTICES[notice]
        eventually(lambda: len(gateway.asked()) == 1)
        metadata["autoscaling/target-lifecycle-state"] = "Terminated"
        error = watching.communicate(timeout=120)[1]
        assert watching.returncode == 0
        assert gateway.asked() == [f"node drain --config {gateway.path('etc/atoll/node.toml')} --deadline 90"]
        assert ("goes all the same" in error) == (status != 0)
        (call,) = gateway.around.calls
        assert {"atoll-test-eu-west-gateways", "drained", "i-0123456789abcdef0", "CONTINUE"} <= set(call)
    finally:
        watching.kill()
        watching.communicate()
        for name in NOTICES:
            metadata.pop(name, None)
        gateway.path("atoll.status").unlink()


# --- What is written


def test_the_scripts_pass_shellcheck() -> None:
    command = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if command is None:
        pytest.skip("not here: shellcheck (the extra `infra`)")
    done = subprocess.run([command, *SOURCE.glob("*.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A root with every unit of every machine, and programs where they expect them."""
    folder = tmp_path / "etc/systemd/system"
    for kind in KINDS:
        for file in cloud_config(user_data(tmp_path / kind, **variables(kind)))["write_files"]:
            path = tmp_path / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
    for program in (
        "usr/local/lib/atoll/start.sh",
        "usr/local/lib/atoll/drain.sh",
        "opt/atoll/current/bin/atoll",
        "usr/bin/systemctl",
    ):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return folder


def test_systemd_accepts_the_units_and_finds_the_roles_well_confined(units: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not here: systemd-analyze")
    root = units.parents[2]
    roles = [f"atoll@{role}.service" for roles in KINDS.values() for role in roles]
    named = [path.name for path in units.iterdir() if path.is_file() and "@" not in path.name]
    verify = ["systemd-analyze", "verify", f"--root={root}", "--recursive-errors=no"]
    done = subprocess.run([*verify, *named, *roles], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr

    secure = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--root={root}",
        "--threshold=40",
        "--no-pager",
    ]
    for role in roles:
        done = subprocess.run([*secure, role], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
