"""A machine as its start-up sees it: a scratch root, the metadata service, and `aws` over a rehearsed cloud.

Everything else is real: bash, pip, mkfs, mount, and the files that Terraform renders from `infra/machines`.
"""

import base64
import gzip
import hashlib
import http.server
import itertools
import json
import os
import socketserver
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.infra.cloud import Cloud
from tests.infra.terraform import ROOT, Terraform

SOURCE = ROOT / "infra" / "machines"

AWS = """#!{python} -SE
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", {port})
connection.request("POST", "/aws", json.dumps(sys.argv[1:]))
answer = json.loads(connection.getresponse().read())
sys.stdout.write(answer["output"]); sys.stderr.write(answer["error"]); sys.exit(answer["status"])
"""

ATOLL = """import os, pathlib, sys
def main():
    root = pathlib.Path(os.environ["ATOLL_ROOT"])
    with (root / "atoll.log").open("a") as log:
        print(*sys.argv[1:], file=log)
    if sys.argv[1:3] == ["topology", "check"] and "mistake" in pathlib.Path(sys.argv[3]).read_text():
        return "a mistake"
    status = root / "atoll.status"
    return int(status.read_text()) if status.exists() else 0
"""
"""What stands for Atoll in its wheel: it writes down what it was asked."""


def user_data(folder: Path, **variables: object) -> bytes:
    """What a launch template would hold, as Terraform renders it."""
    module = {"source": str(SOURCE), **variables}
    folder.mkdir(parents=True, exist_ok=True)
    root = {"module": {"machine": module}, "output": {"user_data": {"value": "${module.machine.user_data}"}}}
    (folder / "main.tf.json").write_text(json.dumps(root))
    terraform = Terraform(folder)
    terraform.init()
    terraform.apply()
    return base64.b64decode(terraform.output("user_data"))


def cloud_config(data: bytes) -> Any:
    """What cloud-init makes of it: JSON is YAML."""
    head, _, document = gzip.decompress(data).partition(b"\n")
    assert head == b"#cloud-config"
    return json.loads(document)


@dataclass
class Surroundings:
    """The metadata service of one machine, and the `aws` command over a cloud."""

    cloud: Cloud
    region: str
    metadata: dict[str, str] = field(default_factory=dict)
    calls: list[Sequence[str]] = field(default_factory=list)
    """What `aws` was asked."""
    port: int = 0

    def aws(self, arguments: list[str]) -> str:
        """One call; whatever the cloud refuses is raised."""
        self.calls.append(arguments)
        options = {name[2:]: value for name, value in itertools.pairwise(arguments)}
        commands: Mapping[tuple[str, ...], Callable[[], str]] = {
            ("s3", "cp"): lambda: self._copy(arguments),
            ("secretsmanager", "get-secret-value"): lambda: self._secret(options["secret-id"]),
            ("ec2", "attach-volume"): lambda: self._attach(options),
            ("route53", "change-resource-record-sets"): lambda: self._names(options),
            ("autoscaling", "complete-lifecycle-action"): lambda: (
                ""
            ),  # moto has none: the call is what counts
        }
        return commands[tuple(arguments[:2])]()

    def _client(self, service: str) -> Any:
        return self.cloud.client(service, self.region)

    def _copy(self, arguments: list[str]) -> str:
        source, target = [argument for argument in arguments if "/" in argument]
        bucket, _, key = source.removeprefix("s3://").partition("/")
        client = self._client("s3")
        if "--recursive" not in arguments:
            client.download_file(bucket, key, target)
            return ""
        for found in client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]:
            if found["Key"].endswith(".whl"):
                client.download_file(bucket, found["Key"], target + Path(found["Key"]).name)
        return ""

    def _secret(self, name: str) -> str:
        text: str = self._client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
        return text + "\n"

    def _attach(self, options: Mapping[str, str]) -> str:
        self._client("ec2").attach_volume(
            VolumeId=options["volume-id"], InstanceId=options["instance-id"], Device=options["device"]
        )
        return "{}"

    def _names(self, options: Mapping[str, str]) -> str:
        self._client("route53").change_resource_record_sets(
            HostedZoneId=options["hosted-zone-id"], ChangeBatch=json.loads(options["change-batch"])
        )
        return "{}"


@contextmanager
def surroundings(cloud: Cloud, region: str) -> Iterator[Surroundings]:
    """A machine's surroundings for as long as it lives."""
    made = Surroundings(cloud, region)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._answer(200, "token")

        def do_GET(self) -> None:
            if self.headers.get("X-aws-ec2-metadata-token") != "token":
                return self._answer(401, "")
            value = made.metadata.get(self.path.removeprefix("/latest/meta-data/"))
            return self._answer(404, "") if value is None else self._answer(200, value)

        def do_POST(self) -> None:
            arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                answer = {"status": 0, "output": made.aws(arguments), "error": ""}
            except Exception as refused:  # noqa: BLE001 the command prints whatever the cloud says
                answer = {"status": 254, "output": "", "error": f"{refused}\n"}
            self._answer(200, json.dumps(answer))

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 the base class names it so
            pass

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()


@dataclass(frozen=True, slots=True)
class Machine:
    """A scratch root with what cloud-init would have written there."""

    root: Path
    around: Surroundings

    @classmethod
    def unpacked(cls, root: Path, around: Surroundings, config: Any) -> "Machine":
        for file in config["write_files"]:
            path = root / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
            path.chmod(int(file["permissions"], 8))
        for folder in ("run", "bin", "var/log"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        command = root / "bin" / "aws"
        command.write_text(AWS.format(python=sys.executable, port=around.port))
        command.chmod(0o755)
        return cls(root, around)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
            "ATOLL_ROOT": str(self.root),
            "ATOLL_IMDS": f"http://127.0.0.1:{self.around.port}",
            "ATOLL_RETRY_S": "0.2",
            "ATOLL_EVERY_S": "0.1",
        }

    def begin(self, script: str, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(self.path(f"usr/local/lib/atoll/{script}")), *arguments],
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        process = self.begin("start.sh", *arguments, **more)
        output, error = process.communicate(timeout=300)
        return subprocess.CompletedProcess(arguments, process.returncode, output, error)

    def path(self, name: str) -> Path:
        return self.root / name

    def read(self, name: str) -> str:
        return self.path(name).read_text()

    def asked(self) -> list[str]:
        """What Atoll was asked."""
        log = self.path("atoll.log")
        return log.read_text().splitlines() if log.exists() else []

    def snapshot(self) -> dict[str, tuple[int, int, int]]:
        """Every file: which one it is, its mode, and when it was written."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and path.name != "atoll.log" and "__pycache__" not in path.parts:
                facts = path.stat()
                found[str(path)] = (facts.st_ino, stat.S_IMODE(facts.st_mode), facts.st_mtime_ns)
        return found


def wheel(folder: Path) -> tuple[Path, str]:
    """A wheel with a command `atoll`, and the requirements that pin it."""
    path = folder / "atoll-0.0.1-py3-none-any.whl"
    info = "atoll-0.0.1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("atoll_stub.py", ATOLL)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: atoll\nVersion: 0.0.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\natoll = atoll_stub:main\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, f"atoll==0.0.1 --hash=sha256:{digest}\n"
