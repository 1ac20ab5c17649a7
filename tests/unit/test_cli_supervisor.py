"""Commands against a supervisor and a gateway that answer as the real ones do, over real sockets."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import jsonschema
import pytest

from atoll.cell.facts import RunLock
from atoll.cell.paths import RunPaths
from atoll.cell.progress import PROGRESS, Progress, StepState
from atoll.cell.status import RUN_STATUS, GatewayStatus, RegionState, RegionStatus, RunStatus
from atoll.cli import documents, main
from atoll.cli.commands import up
from atoll.cli.exits import CommandError, Exit
from atoll.rpc import Document, RpcError, serve_streaming
from atoll.rpc import Progress as Send

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "infra" / "topologies" / "local.toml"
EXPLANATION = {
    "client": "192.0.2.7",
    "service": "quote",
    "gateway": "entry",
    "routed_from": "eu-west",
    "place": {
        "country": "IE",
        "latitude": 53.35,
        "longitude": -6.26,
        "source": "geoip-country",
        "stands_in": None,
    },
    "residency": {"zones": ["eu"], "restrictions": [{"source": "service quote", "zones": ["eu"]}]},
    "steering": {"chosen": "eu-west", "panic": False, "candidates": []},
    "routing": {"chosen": None, "panic": True, "candidates": []},
    "topology": {"name": "local", "revision": 1, "digest": "ab"},
    "schema": "atoll.explain/1",
}


@dataclass
class Supervisor:
    """Answers on a run's socket from a thread of its own; remembers what it was asked."""

    paths: RunPaths
    status: RunStatus
    refusal: RpcError | None = None
    changed: str = ""
    """What it says that it added or removed."""
    asked: list[tuple[str, Document]] = field(default_factory=list)

    async def handle(self, method: str, parameters: Document, send: Send) -> Document:
        if method == "ping":
            return {}
        self.asked.append((method, parameters))
        if method == "status":
            return dict(RUN_STATUS.dump_python(self.status, mode="json"))
        event = Progress("eu-west", "gateways", StepState.DONE, 0.5)
        await send(dict(PROGRESS.dump_python(event, mode="json")))
        if self.refusal is not None:
            raise self.refusal
        return {"detail": self.changed} if method == "regions" else {}

    async def run(self, started: threading.Event, ended: asyncio.Event) -> None:
        async with await serve_streaming(self.paths.supervisor_socket, self.handle):
            started.set()
            await ended.wait()


def region(title: str, port: int, admin_url: str) -> RegionStatus:
    return RegionStatus(
        title=title,
        zone="eu",
        state=RegionState.READY,
        detail="",
        draining=False,
        dashboard_url=f"http://127.0.0.1:{port + 500}",
        gateways=(
            GatewayStatus("gateway-1", f"http://127.0.0.1:{port}", "http://127.0.0.1:1", None, None),
            GatewayStatus("gateway-2", f"http://127.0.0.1:{port + 1}", admin_url, None, None),
        ),
        processes=(),
        memory_bytes=0,
        replicas={},
        in_flight={},
        capacity={},
        health={},
    )


class Gateway(BaseHTTPRequestHandler):
    """The admin listener of a gateway, as far as `explain` needs it."""

    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        status, body = 200, EXPLANATION
        if self.headers["Authorization"] != "Bearer secret":
            status, body = 401, {"title": "Who are you?"}
        elif "service=nothing" in self.path:
            status, body = 404, {"title": "Not found", "detail": "no service 'nothing'; there are: quote"}
        elif "service=old" in self.path:
            body = {"schema": "atoll.explain/0"}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def admin_url() -> Iterator[str]:
    Gateway.paths.clear()
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def supervisor(tmp_path: Path, admin_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.chdir(tmp_path)
    paths = RunPaths.below(tmp_path)
    paths.prepare(("eu-west",))
    paths.admin_token.write_text("secret\n")
    status = RunStatus(
        run="0123456789ab/1",
        started_at="2026-08-01T12:00:00Z",
        supervisor_pid=os.getpid(),
        topology="local",
        topology_file=str(LOCAL),
        topology_revision=1,
        topology_digest="ab",
        entry_url="http://127.0.0.1:8080",
        entry_admin_url=admin_url,
        processes=(),
        memory_bytes=0,
        regions={
            "us-east": region("Virginia", 8081, admin_url),
            "eu-west": region("Ireland", 8083, admin_url),
        },
        faults=(),
    )
    made = Supervisor(paths, status)
    loop = asyncio.new_event_loop()
    started, ended = threading.Event(), asyncio.Event()
    lock = RunLock(paths)
    thread = threading.Thread(target=loop.run_until_complete, args=(made.run(started, ended),))
    thread.start()
    assert started.wait(10)
    yield made
    loop.call_soon_threadsafe(ended.set)
    thread.join()
    loop.close()
    lock.release()


@pytest.mark.parametrize(
    "words",
    [["status", "--json"], ["explain", "--client", "192.0.2.7", "--service", "quote", "--json"]],
    ids=lambda words: words[0],
)
@pytest.mark.usefixtures("supervisor")
def test_json_is_one_document_that_its_schema_describes_and_nothing_else(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == Exit.SUCCESS
    output = capsys.readouterr()
    assert output.err == ""
    document = json.loads(output.out)
    name = f"atoll.{words[0]}/1"
    assert document["schema"] == name
    jsonschema.validate(document, json.loads(documents.schema_file(name).read_text()))


def fault(kind: str, target: str | None, **more: object) -> tuple[str, Document]:
    nothing = {
        "other": None,
        "one_way": False,
        "latency_ms": None,
        "rate_bytes_per_s": None,
        "skew_ms": None,
        "share": None,
    }
    return "fault", {"kind": kind, "target": target} | nothing | more


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("fault kill eu-west/gateway-1", fault("kill", "eu-west/gateway-1")),
        ("fault freeze entry", fault("freeze", "entry")),
        ("fault kill eu-west/replica/quote", fault("kill", "eu-west/replica/quote")),
        ("fault fill eu-west/state", fault("fill", "eu-west/state")),
        ("fault starve eu-west/cache", fault("starve", "eu-west/cache")),
        ("fault skew eu-west/state --ahead 15s", fault("skew", "eu-west/state", skew_ms=15_000)),
        ("fault skew eu-west/state --behind 2min", fault("skew", "eu-west/state", skew_ms=-120_000)),
        ("fault limp eu-west/replica/quote --share 0.1", fault("limp", "eu-west/replica/quote", share=0.1)),
        ("fault without failover", fault("without", "failover")),
        ("fault cut eu-west us-east", fault("cut", "eu-west", other="us-east")),
        ("fault cut eu-west", fault("cut", "eu-west")),
        ("fault cut eu-west us-east --one-way", fault("cut", "eu-west", other="us-east", one_way=True)),
        ("fault slow eu-west --latency 400ms", fault("slow", "eu-west", latency_ms=400.0)),
        (
            "fault throttle eu-west entry --rate 64KiB",
            fault("throttle", "eu-west", other="entry", rate_bytes_per_s=65536.0),
        ),
        ("fault heal", fault("heal", None)),
        ("fault heal eu-west", fault("heal", "eu-west")),
        ("fault heal eu-west us-east", fault("heal", "eu-west", other="us-east")),
        ("deploy", ("deploy", {"rollback": False})),
        ("deploy --rollback", ("deploy", {"rollback": True})),
        ("drain eu-west --timeout 90s", ("drain", {"region": "eu-west", "timeout_s": 90.0})),
        ("undrain eu-west", ("undrain", {"region": "eu-west", "timeout_s": 60.0})),
    ],
)
def test_what_is_asked_of_the_supervisor(
    words: str, asked: tuple[str, Document], supervisor: Supervisor
) -> None:
    assert main(words.split()) == Exit.SUCCESS
    assert supervisor.asked == [asked]


def test_progress_is_shown(supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy"]) == Exit.SUCCESS
    assert "gateways: done in 0.5 s" in capsys.readouterr().out
    assert supervisor.asked == [("deploy", {"rollback": False})]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("no-such-region", Exit.USAGE),
        ("no-such-process", Exit.USAGE),
        ("no-such-link", Exit.USAGE),
        ("deploy-failed", Exit.FAILED),
        ("not-drained", Exit.FAILED),
        ("region-unavailable", Exit.FAILED),
    ],
)
def test_a_refusal_is_told_in_the_supervisors_words(
    supervisor: Supervisor, capsys: pytest.CaptureFixture[str], kind: str, status: Exit
) -> None:
    supervisor.refusal = RpcError(kind, "this is why, and what to do")
    for words in (["fault", "kill", "eu-north"], ["drain", "eu-north"], ["deploy"]):
        assert main(words) == status
        assert "this is why, and what to do" in capsys.readouterr().err


@pytest.mark.usefixtures("supervisor")
def test_explain_asks_the_entry_or_a_gateway_of_the_region(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--client", "192.0.2.7", "--service", "quote"]) == Exit.SUCCESS
    assert Gateway.paths == ["/-/explain?client=192.0.2.7&service=quote"]
    assert "Steering" in capsys.readouterr().out
    # The region's first gateway is dead (its port refuses); the second answers.
    words = ["explain", "--client", "2a02:8388::1", "--service", "quote", "--from", "eu-west"]
    assert main(words) == Exit.SUCCESS
    assert Gateway.paths[1:] == ["/-/explain?client=2a02%3A8388%3A%3A1&service=quote&from=eu-west"]


@pytest.mark.parametrize(
    ("service", "more", "status", "words"),
    [
        ("nothing", [], Exit.FAILED, "no service 'nothing'; there are: quote"),
        ("old", [], Exit.FAILED, "another version"),
        ("quote", ["--from", "eu-north"], Exit.USAGE, "there are: us-east, eu-west"),
    ],
)
@pytest.mark.usefixtures("supervisor")
def test_explain_says_what_is_wrong(
    service: str, more: list[str], status: Exit, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "--client", "192.0.2.7", "--service", service, "--json", *more]) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert words in output.err


def test_explain_with_a_wrong_token_or_a_dead_gateway(
    supervisor: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", "--client", "192.0.2.7", "--service", "quote"]
    supervisor.paths.admin_token.write_text("wrong\n")
    assert main(words) == Exit.FAILED
    assert "Who are you?" in capsys.readouterr().err
    supervisor.status = replace(supervisor.status, entry_admin_url="http://127.0.0.1:1")
    assert main(words) == Exit.FAILED
    assert "doesn't answer" in capsys.readouterr().err
    supervisor.paths.admin_token.unlink()
    assert main(words) == Exit.FAILED
    assert str(supervisor.paths.admin_token) in capsys.readouterr().err


def test_dashboard(supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "eu-west"]) == Exit.SUCCESS
    text = capsys.readouterr().out
    assert "http://127.0.0.1:8583" in text
    assert "8581" not in text
    assert str(supervisor.paths.region("eu-west").ray_token) in text
    assert main(["dashboard", "eu-north"]) == Exit.USAGE


def test_up_again_of_the_same_is_fine_and_of_another_is_not(
    supervisor: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    same = ["up", "--topology", str(LOCAL), "--regions", "2"]
    assert main([*same, "--detach"]) == Exit.SUCCESS
    text = capsys.readouterr().out
    assert "runs here already" in text
    assert "http://127.0.0.1:8083" in text
    assert supervisor.asked[1] == ("regions", {"regions": 2})
    assert [method for method, _ in supervisor.asked] == ["status", "regions", "ready", "status"]
    for other in (
        same,  # in front: there is nothing to stay for
        ["up", "--topology", str(LOCAL.with_name("residency.toml")), "--regions", "2", "--detach"],
    ):
        assert main(other) == Exit.FAILED
        assert "atoll down" in capsys.readouterr().err
    assert "stop" not in [method for method, _ in supervisor.asked]


@pytest.mark.parametrize("front", [[], ["--detach"]])
def test_up_again_of_a_file_with_other_regions_says_what_was_changed(
    supervisor: Supervisor, capsys: pytest.CaptureFixture[str], front: list[str]
) -> None:
    supervisor.changed = "added: ap-northeast"
    assert main(["up", "--topology", str(LOCAL), *front]) == Exit.SUCCESS
    text = capsys.readouterr().out
    assert "added: ap-northeast" in text
    assert "http://127.0.0.1:8083" in text
    assert supervisor.asked[1] == ("regions", {"regions": None})
    supervisor.refusal = RpcError("bad-request", "this is why, and what to do")
    assert main(["up", "--topology", str(LOCAL), *front]) == Exit.USAGE
    assert "this is why, and what to do" in capsys.readouterr().err
    assert "stop" not in [method for method, _ in supervisor.asked], "what runs is left alone"


@pytest.mark.parametrize("text", ["http", "-1", "0", "70000", "80.5"])
def test_a_port_base_that_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="ATOLL_PORT_BASE") as refused:
        up.port_base({"ATOLL_PORT_BASE": text})
    assert refused.value.status is Exit.USAGE


def test_port_base() -> None:
    assert up.port_base({}) is None
    assert up.port_base({"ATOLL_PORT_BASE": ""}) is None
    assert up.port_base({"ATOLL_PORT_BASE": "21000"}) == 21000


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    log = RunPaths.below(tmp_path).log("supervisor")
    log.parent.mkdir(parents=True)
    log.write_text("it runs\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "atoll.cli", "logs", "--follow"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"it runs\n"
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()  # if it is deaf
    assert process.returncode == Exit.INTERRUPTED
    assert b"Traceback" not in errors
