"""The users' process as a drill starts it, before real gateways; replicas are stand-ins."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.integration.gateways import TOPOLOGY, Replica, World, world
from tests.integration.patient import patience

from atoll_gateway.http.exchange import Receive, Scope, Send
from loadtests.drills.record import REQUEST, Request, Way

ROOT = Path(__file__).parents[2]
REGIONS = ("us-east", "eu-west", "ap-northeast")
TTL_S = 4
EUROPE = {"DE", "ES", "FR", "GB", "IT", "NL", "PL"}
"""Their resolvers' answers are of different ages: some are young when a gateway dies."""


class Shop(Replica):
    """A replica that finds postcards."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.dumps({"postcards": [{"id": 2964574}, {"id": 2643743}]}).encode()
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def topology(origins: dict[str, Shop]) -> str:
    lines = [TOPOLOGY[: TOPOLOGY.index("[services.echo]")], f"[steering]\nttl_s = {TTL_S}"]
    lines += ['[health]\nprobe_interval = "100ms"\nsilence = "3s"\n[hedge]\nenabled = false']
    for service in ("catalog", "quote"):
        lines += [f'[services.{service}]\nkind = "origin"\nroute_prefix = "/{service}"\ntimeout = "30s"']
        lines += [f"[services.{service}.origins]"]
        lines += [f'{region} = ["http://127.0.0.1:{origin.port}"]' for region, origin in origins.items()]
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def shops(folder: Path) -> AsyncIterator[World]:
    origins = {region: Shop(region) for region in REGIONS}
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(patience())
        for origin in origins.values():
            await origin.start()
            stack.push_async_callback(origin.stop)
        yield await stack.enter_async_context(world(folder, topology=topology(origins)))


@asynccontextmanager
async def users(folder: Path, host: str, *arguments: str) -> AsyncIterator[Process]:
    """The users' process, with its requests in ``requests.jsonl``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", "loadtests/shop.py", "--headless", "--only-summary"),
        *("--host", host, "--topology", str(folder / "topology.toml")),
        *("--requests", str(folder / "requests.jsonl"), *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def recorded(folder: Path) -> list[Request]:
    file = folder / "requests.jsonl"
    content = file.read_bytes() if file.exists() else b""
    assert content.endswith(b"\n") or not content, "whole lines alone"
    return [REQUEST.validate_json(line) for line in content.splitlines()]


async def seen(folder: Path, number: int) -> None:
    async with asyncio.timeout(120):
        while len(recorded(folder)) < number:
            await asyncio.sleep(0.1)


async def test_a_gateway_dies_and_those_who_follow_dns_are_exposed_until_their_answer_is_over(
    tmp_path: Path,
) -> None:
    """Those behind the entry are not."""
    where = ("--countries", ",".join((*EUROPE, "JP")))
    arguments = ("--way", "both", "--rate", "12", "--think", "0.3", "--seed", "3", *where)
    async with shops(tmp_path) as atoll, users(tmp_path, atoll.url(), *arguments) as process:
        await seen(tmp_path, 150)
        killed_s = time.monotonic()
        await atoll.cells["eu-west"].kill()
        await asyncio.sleep(2 * TTL_S)
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode in {0, 1}, output.decode()
    requests = recorded(tmp_path)
    before = [one for one in requests if one.ended_s < killed_s]
    assert {one.way for one in before} == set(Way) and not any(one.failed for one in before)
    assert {one.region for one in before if one.country in EUROPE} == {"eu-west"}
    assert {one.region for one in before if one.country == "JP"} == {"ap-northeast"}
    failed = [one for one in requests if one.failed and one.error != "unfinished"]
    assert failed, "exposed"
    assert {(one.way, one.country in EUROPE) for one in failed} == {(Way.DNS, True)}
    assert {one.error for one in failed} <= {"refused", "reset", "cut"}
    exposed_s = max(one.ended_s for one in failed) - killed_s
    print(
        f"exposed for {exposed_s:.2f} s of a time to live of {TTL_S} s: {len(failed)} failed of {len(requests)}"
    )
    assert 0.0 < exposed_s < TTL_S + 5.0
    healed = [one for one in requests if one.due_s > killed_s + exposed_s and one.country in EUROPE]
    assert {one.way for one in healed if not one.failed} == set(Way)
    assert {one.region for one in healed if not one.failed} <= {"us-east", "ap-northeast"}
    assert all(one.seconds > 0.01 for one in before), "nobody is nearer than their line"


async def test_a_load_ends_by_itself_when_its_time_is_over(tmp_path: Path) -> None:
    async with shops(tmp_path) as atoll:
        arguments = (
            "--rate",
            "8",
            "--think",
            "0.2",
            "--run-seconds",
            "3",
            "--journey",
            "quote",
            "--wait-ms",
            "5",
        )
        async with users(tmp_path, atoll.url(), *arguments) as process:
            output, _ = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == 0, output.decode()
    requests = recorded(tmp_path)
    assert not [one for one in requests if one.failed]
    assert {one.name for one in requests} == {"GET /quote"}
    assert {one.way for one in requests} == {Way.ENTRY}
    due_s = [one.due_s for one in requests]
    assert max(due_s) - min(due_s) < 3.0 and len(requests) > 8
    assert b"/quote (entry)" in output, "locust's own statistics have them"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--shape", "ramp", "--way", "dns"), "--peak: is needed for the shape ramp"),
        (("--services", "tea"), "the journey shop needs one of the services"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_sent(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    (tmp_path / "topology.toml").write_text((ROOT / "infra" / "topologies" / "local.toml").read_text())
    async with users(tmp_path, "http://127.0.0.1:9", *arguments) as process:
        output, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 2, output.decode()
    assert told in output.decode()
    assert not recorded(tmp_path)
