"""Gateways and an entry over real sockets: steering, routing, residency, failover, headers, reload, draining."""

import asyncio
import contextlib
import json
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.integration.gateways import (
    IRELAND,
    JAPAN,
    TOKEN,
    VIRGINIA,
    World,
    client,
    from_address,
    until,
    world,
)

from atoll.clock import SystemClock
from atoll.topology import TopologyError
from atoll_gateway.answers import Answers
from atoll_gateway.gateway import Gateway


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("address", "region"), [(VIRGINIA, "us-east"), (IRELAND, "eu-west"), (JAPAN, "ap-northeast")]
)
async def test_the_entry_steers_by_the_clients_place(three: World, address: str, region: str) -> None:
    async with client() as http:
        response = await http.get(f"{three.url()}/echo/x?y=1", headers={"X-Forwarded-For": address})
    assert (response.status_code, response.text) == (200, region)
    assert response.headers["atoll-region"] == region
    assert response.headers["atoll-attempts"] == "1"
    assert f'attempt;desc="{region} 200"' in response.headers["server-timing"]


async def test_forwarding_headers_count_from_trusted_proxies_alone(three: World) -> None:
    async with from_address("127.0.0.2") as http:
        response = await http.get(f"{three.url()}/echo/x", headers={"X-Forwarded-For": JAPAN})
    assert response.headers["atoll-region"] == "us-east", (
        "an untrusted client counts as standing in the default region"
    )
    (_, _, headers, _) = three.seen("us-east")[0]
    assert headers["x-forwarded-for"] == "127.0.0.2"


async def test_a_cells_gateway_serves_from_its_own_region_whatever_the_clients_place(three: World) -> None:
    async with client() as http:
        response = await http.get(f"{three.url('eu-west')}/echo/x", headers={"X-Forwarded-For": JAPAN})
    assert response.headers["atoll-region"] == "eu-west"


async def test_residency_holds_from_everywhere(three: World) -> None:
    async with client() as http:
        for start in (None, "us-east", "ap-northeast"):
            response = await http.get(f"{three.url(start)}/echo-eu/x", headers={"X-Forwarded-For": VIRGINIA})
            assert response.headers["atoll-region"] == "eu-west"
    assert not three.seen("us-east") and not three.seen("ap-northeast")


async def test_residency_is_not_relaxed_when_the_only_region_is_lost(three: World) -> None:
    await three.cells["eu-west"].kill()
    async with client() as http:
        for start in (None, "us-east"):
            response = await http.get(f"{three.url(start)}/echo-eu/x", headers={"X-Forwarded-For": IRELAND})
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert "atoll-region" not in response.headers
    assert not three.seen("us-east") and not three.seen("ap-northeast")


async def test_a_service_that_refuses_transit_is_not_passed_on_from_outside_its_zones(three: World) -> None:
    async with client() as http:
        outside = await http.get(f"{three.url('us-east')}/echo-eu-strict/x")
        inside = await http.get(f"{three.url('eu-west')}/echo-eu-strict/x")
    assert (outside.status_code, outside.json()["type"]) == (421, "urn:atoll:problem:transit-refused")
    assert inside.status_code == 200


async def test_reads_survive_the_loss_of_a_region(three: World) -> None:
    """Requests keep coming while a region dies; none may fail, and traffic moves elsewhere."""
    answers: list[httpx.Response] = []
    async with client() as http, asyncio.TaskGroup() as group:

        async def ask() -> None:
            answers.append(await http.get(f"{three.url()}/echo/x", headers={"X-Forwarded-For": IRELAND}))

        for number in range(100):
            group.create_task(ask())
            if number == 50:
                group.create_task(three.cells["eu-west"].kill())
            await asyncio.sleep(0.005)
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].text == "eu-west"
    assert answers[-1].text == "us-east"


async def test_a_request_that_waits_on_a_dying_region_is_answered_by_another(three: World) -> None:
    replica = three.cells["eu-west"].replicas[0]
    async with client() as http:
        waiting = asyncio.ensure_future(
            http.get(f"{three.url()}/echo/hold", headers={"X-Forwarded-For": IRELAND})
        )
        await replica.reached()
        three.cells["us-east"].replicas[0].held.set()
        await three.cells["eu-west"].kill()
        response = await waiting
    assert (response.status_code, response.text) == (200, "us-east")
    assert response.headers["atoll-attempts"] == "2"


async def test_a_write_whose_bytes_may_have_arrived_is_never_sent_twice(three: World) -> None:
    replica = three.cells["eu-west"].replicas[0]
    async with client() as http:
        waiting = asyncio.ensure_future(
            http.post(f"{three.url()}/echo/hold", content=b"buy", headers={"X-Forwarded-For": IRELAND})
        )
        await replica.reached()
        await three.cells["eu-west"].kill()
        response = await waiting
    assert (response.status_code, response.json()["type"]) == (502, "urn:atoll:problem:outcome-unknown")
    assert not three.seen("us-east") and not three.seen("ap-northeast")


async def test_a_write_that_never_left_is_sent_elsewhere(three: World) -> None:
    await three.cells["eu-west"].kill()
    async with client() as http:
        response = await http.post(
            f"{three.url()}/echo/mirror", content=b"buy", headers={"X-Forwarded-For": IRELAND}
        )
    assert (response.status_code, response.content) == (200, b"buy")
    assert response.headers["atoll-region"] == "us-east"


async def test_a_write_that_a_region_refuses_to_execute_is_sent_elsewhere(three: World) -> None:
    """The region lives but has no replica; its peers have not heard that yet."""
    cell = three.cells["eu-west"]
    await cell.replicas[0].stop()
    async with client() as http:
        response = await http.post(
            f"{three.url()}/echo/mirror", content=b"buy", headers={"X-Forwarded-For": IRELAND}
        )
    assert (response.status_code, response.content) == (200, b"buy")
    assert response.headers["atoll-attempts"] == "1", "a refusal is no attempt: nothing was sent to a replica"


async def test_server_errors_of_a_region_are_bettered_by_another_only_where_that_is_safe(
    three: World,
) -> None:
    async with client() as http:
        read = await http.get(f"{three.url('eu-west')}/echo/503")
        write = await http.post(f"{three.url('eu-west')}/echo/503")
        bug = await http.get(f"{three.url('eu-west')}/echo/500")
    assert (read.status_code, read.headers["atoll-attempts"]) == (503, "3")
    assert (write.status_code, write.headers["atoll-attempts"]) == (503, "1")
    assert (bug.status_code, bug.headers["atoll-attempts"]) == (500, "1")


async def test_a_dead_replica_is_ejected_and_its_sibling_serves(tmp_path: Path) -> None:
    async with world(tmp_path, replicas=2) as made, client() as http:
        cell = made.cells["eu-west"]
        await cell.replicas[0].stop()
        answers = [await http.get(f"{made.url('eu-west')}/echo/x") for _ in range(20)]
        assert {(answer.status_code, answer.text) for answer in answers} == {(200, "eu-west")}
        metrics = Answers(cell.gateway).exposition()[0].decode()
        assert re.search(r'atoll_replica_ejections_total\{service="echo"\} [1-9]', metrics)
        await cell.replicas[0].start()
        await until(lambda: cell.gateway.replicas.live("echo") == 2)
        before = len(cell.replicas[0].seen)

        async def served_again() -> None:
            while len(cell.replicas[0].seen) == before:
                await http.get(f"{made.url('eu-west')}/echo/x")

        await asyncio.wait_for(asyncio.gather(*(served_again() for _ in range(4))), 60)


@pytest.mark.parametrize(
    "says",
    [
        (503, b"Request dropped due to backpressure"),
        (404, b"Path '/echo/mirror' not found. Ping http://.../-/routes for available routes."),
    ],
)
async def test_a_write_that_serve_did_not_execute_is_sent_elsewhere(
    three: World, says: tuple[int, bytes]
) -> None:
    """A replica that is full, or one that took over the port of another service's."""
    three.cells["eu-west"].replicas[0].says = says
    async with client() as http:
        for start in (three.url("eu-west"), three.url()):
            response = await http.post(
                f"{start}/echo/mirror", content=b"buy", headers={"X-Forwarded-For": IRELAND}
            )
            assert (response.status_code, response.content) == (200, b"buy")
            assert response.headers["atoll-region"] == "us-east"


async def test_a_services_own_404_and_503_are_its_answer(three: World) -> None:
    three.cells["eu-west"].replicas[0].says = (404, b"no such postcard")
    async with client() as http:
        answer = await http.post(f"{three.url('eu-west')}/echo/mirror", content=b"x")
        three.cells["eu-west"].replicas[0].says = (503, b"ask later")
        other = await http.post(f"{three.url('eu-west')}/echo/mirror", content=b"x")
    assert (answer.status_code, answer.content) == (404, b"no such postcard")
    assert (other.status_code, other.content) == (503, b"ask later")


async def test_headers_that_clients_may_not_set_reach_no_replica(three: World) -> None:
    forged = {
        "Atoll-Hop": "1",
        "Atoll-Zones": "us",
        "Atoll-Place": "JP;;header",
        "Atoll-Explain": "1",
        "X-Request-Timeout-Seconds": "0",
        "serve_multiplexed_model_id": "m",
        "X-Request-Disconnect-Disabled": "?1",
        "Forwarded": "for=1.2.3.4",
        "X-Real-IP": "1.2.3.4",
        "Connection": "x-secret",
        "X-Secret": "1",
        "TE": "trailers",
        "X-Kept": "yes",
    }
    async with client() as http:
        response = await http.get(f"{three.url('us-east')}/echo/x", headers=forged)
    assert "atoll-decision" not in response.headers
    assert response.headers["atoll-region"] == "us-east", "a replica can't claim a region"
    (_, _, headers, _) = three.seen("us-east")[0]
    assert headers["x-kept"] == "yes"
    for name in ("atoll-hop", "atoll-zones", "atoll-place", "atoll-explain", "serve_multiplexed_model_id"):
        assert name not in headers
    for name in ("forwarded", "x-real-ip", "x-secret", "te", "x-request-disconnect-disabled"):
        assert name not in headers
    assert 0 < float(headers["x-request-timeout-seconds"]) <= 3


async def test_ids_and_traces_are_passed_on(three: World) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with client() as http:
        named = await http.get(
            f"{three.url()}/echo/x",
            headers={"X-Request-Id": "mine-1", "traceparent": parent, "X-Forwarded-For": VIRGINIA},
        )
        unsound = await http.get(f"{three.url()}/echo/x", headers={"X-Request-Id": "no spaces here"})
    (_, _, headers, _) = three.seen("us-east")[0]
    assert named.headers["x-request-id"] == headers["x-request-id"] == "mine-1"
    assert re.fullmatch(r"00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01", headers["traceparent"])
    assert headers["traceparent"] != parent
    assert re.fullmatch(r"[0-9a-f]{32}", unsound.headers["x-request-id"])


@pytest.mark.parametrize(
    ("path", "headers", "status", "kind"),
    [
        ("/nothing/here", {}, 404, "no-such-service"),
        ("/echoes", {}, 404, "no-such-service"),
        ("/echo/x", {"Atoll-Timeout": "soon"}, 400, "bad-header"),
        ("/echo/x", {"Atoll-Timeout": "0s"}, 400, "bad-header"),
        ("/echo/x", {"Atoll-Criticality": "very"}, 400, "bad-header"),
        ("/echo/hold", {"Atoll-Timeout": "200ms"}, 504, "deadline-exceeded"),
    ],
)
async def test_errors_are_problem_documents(
    three: World, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    async with client() as http:
        response = await http.get(three.url("us-east") + path, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["type"] == f"urn:atoll:problem:{kind}"
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["title"] and document["detail"]


async def test_a_deadline_that_passed_says_what_it_was_and_where_it_went(three: World) -> None:
    async with client() as http:
        response = await http.get(f"{three.url('us-east')}/echo/hold", headers={"Atoll-Timeout": "200ms"})
    assert "within 0.2 s" in response.json()["detail"]
    assert "us-east" in response.json()["detail"]


async def test_bodies_stream_both_ways(three: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 10_000

    async with client() as http:
        mirrored = await http.post(
            f"{three.url()}/echo/mirror", content=pieces(), headers={"X-Forwarded-For": JAPAN}
        )
        streamed = await http.get(f"{three.url()}/echo/stream")
    assert mirrored.content == b"x" * 400_000
    assert streamed.text == "0\n1\n2\n3\n4\n"
    assert "content-length" not in streamed.headers


async def test_a_service_says_how_long_a_body_may_be(three: World) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 4096):
            yield b"x" * 4096

    limit = 400 * 1024
    async with client() as http:
        for start in (three.url(), three.url("us-east")):
            at = await http.post(f"{start}/echo/mirror", content=b"x" * limit)
            over = await http.post(f"{start}/echo/mirror", content=b"x" * (limit + 1))
            streamed = await http.post(f"{start}/echo/mirror", content=pieces(limit))
            assert (at.status_code, len(at.content)) == (200, limit)
            assert (streamed.status_code, len(streamed.content)) == (200, limit)
            assert (over.status_code, over.json()["type"]) == (413, "urn:atoll:problem:body-too-large")
        with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # it may be told while it still sends
            endless = await http.post(f"{three.url()}/echo/mirror", content=pieces(4 * limit))
            assert endless.status_code == 413
    bodies = [len(body) for region in three.cells for (_, _, _, body) in three.seen(region)]
    assert max(bodies) == limit, "no replica got a whole body that is too long"


async def test_draining_a_region_moves_its_traffic(three: World) -> None:
    cell = three.cells["eu-west"]
    assert cell.wiring.drain_file is not None
    cell.wiring.drain_file.touch()
    async with client() as http:
        await until(lambda: three.entry.board.health()["eu-west"].draining)
        steered = await http.get(f"{three.url()}/echo/x", headers={"X-Forwarded-For": IRELAND})
        routed = await http.get(f"{three.url('eu-west')}/echo/x")
        assert steered.headers["atoll-region"] == routed.headers["atoll-region"] == "us-east"
        only = await http.get(f"{three.url()}/echo-eu/x")
        assert only.headers["atoll-region"] == "eu-west", "nobody else may, so a draining region still serves"
        cell.wiring.drain_file.unlink()
        await until(lambda: not three.entry.board.health()["eu-west"].draining)
        back = await http.get(f"{three.url()}/echo/x", headers={"X-Forwarded-For": IRELAND})
    assert back.headers["atoll-region"] == "eu-west"


async def test_a_changed_topology_is_taken_up_and_a_bad_one_refused_without_losing_a_request(
    three: World,
) -> None:
    text = three.topology_file.read_text()
    gateways = [three.entry, *(cell.gateway for cell in three.cells.values())]
    stop = asyncio.Event()
    statuses: set[int] = set()

    async def ask(http: httpx.AsyncClient) -> None:
        while not stop.is_set():
            statuses.add(
                (await http.get(f"{three.url()}/echo/x", headers={"X-Forwarded-For": IRELAND})).status_code
            )

    async with client() as http, asyncio.TaskGroup() as group:
        group.create_task(ask(http))
        three.topology_file.write_text(text[: len(text) // 2])
        await until(lambda: all(gateway.topology_file.statistics().error for gateway in gateways))
        assert all(gateway.topology.revision == 1 for gateway in gateways)
        assert 'loads_total{outcome="refused"} 1.0' in Answers(three.entry).exposition()[0].decode()
        older = text.replace("revision = 1", "revision = 2").replace(
            '[services.echo]\nroute_prefix = "/echo"',
            '[services.echo]\nresidency = ["us"]\nroute_prefix = "/echo"',
        )
        three.topology_file.write_text(older)
        await until(lambda: all(gateway.topology.revision == 2 for gateway in gateways))
        moved = await http.get(f"{three.url()}/echo/x", headers={"X-Forwarded-For": IRELAND})
        assert moved.headers["atoll-region"] == "us-east"
        three.topology_file.write_text(text)
        await until(lambda: all(gateway.topology_file.statistics().error for gateway in gateways))
        assert "older than 2" in str(three.entry.topology_file.statistics().error)
        stop.set()
    assert statuses == {200}


async def test_a_gateway_that_starts_anew_after_a_bad_edit_runs_on_what_was_in_force(three: World) -> None:
    cell = three.cells["us-east"]
    three.topology_file.write_text("half")
    restarted = Gateway(cell.wiring, SystemClock(), random.Random(0), None)
    assert restarted.topology.digest == cell.gateway.topology.digest
    assert "not TOML" in str(restarted.topology_file.statistics().error)
    restarted.close()
    (cell.wiring.state_dir / "topology.toml").unlink()
    with pytest.raises(TopologyError, match="not TOML"):
        Gateway(cell.wiring, SystemClock(), random.Random(0), None)


async def test_where_topologies_differ_residency_takes_the_stricter(three: World) -> None:
    """The receiving gateway checks its own topology, whatever the sender believed."""
    three.cells["us-east"].gateway.topology_file.poll = lambda accept: None  # type: ignore[method-assign]
    text = three.topology_file.read_text().replace("revision = 1", "revision = 2")
    three.topology_file.write_text(
        text.replace('residency = ["eu"]\n[services.echo-eu-strict]', "[services.echo-eu-strict]")
    )
    await until(lambda: three.entry.topology.revision == 2)
    async with client() as http:
        response = await http.get(f"{three.url()}/echo-eu/x", headers={"X-Forwarded-For": VIRGINIA})
    assert response.status_code == 200
    assert response.headers["atoll-region"] == "eu-west"
    assert not three.seen("us-east")


async def test_the_peer_listener_answers_gateways_alone(three: World) -> None:
    peer = three.cells["us-east"].wiring.peer
    assert peer is not None
    async with client() as http:
        for path, headers in (
            ("/echo/x", {}),
            ("/echo/x", {"Atoll-Hop": "1"}),
            ("/-/peer/health", {"Authorization": "Bearer wrong"}),
            ("/-/peer/health", {"Authorization": f"Bearer {TOKEN}"}),
        ):
            response = await http.get(f"{peer.url}{path}", headers=headers)
            assert (response.status_code, response.json()["type"]) == (401, "urn:atoll:problem:not-a-peer")
        hello = await http.post(f"{peer.url}/-/peer/hello", headers={"Authorization": f"Bearer {TOKEN}"})
        assert hello.status_code == 200
        explained = await http.get(f"{peer.url}/echo-eu/x", headers={"Atoll-Explain": "1"})
    assert "us-east;eligible=?0" in explained.headers["atoll-decision"]
    assert explained.headers["atoll-region"] == "eu-west"


async def test_the_admin_listener_wants_the_token(three: World) -> None:
    admin = three.entry.wiring.admin.url
    async with client() as http:
        assert (await http.get(f"{admin}/-/metrics")).status_code == 401
        assert (await http.get(f"{admin}/-/metrics", auth=("operator", "wrong"))).status_code == 401
        assert (await http.get(f"{admin}/-/docs", auth=("operator", TOKEN))).status_code == 200
        await http.get(f"{three.url()}/echo/x")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        metrics = (await http.get(f"{admin}/-/metrics", headers=bearer)).text
        regions = (await http.get(f"{admin}/-/regions", headers=bearer)).json()
    assert re.search(r'atoll_requests_total\{.*service="echo".*\} 1\.0', metrics)
    assert regions["schema"] == "atoll.regions/1"
    assert regions["regions"]["eu-west"]["healthy"] is True


async def test_explain_names_every_region_with_score_and_reason(three: World) -> None:
    admin = three.entry.wiring.admin.url
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    await three.cells["eu-west"].kill()
    await until(lambda: not three.entry.board.health()["eu-west"].healthy)
    async with client() as http:
        answer = await http.get(
            f"{admin}/-/explain", params={"client": IRELAND, "service": "echo"}, headers=bearer
        )
        unknown = await http.get(
            f"{admin}/-/explain", params={"client": IRELAND, "service": "no"}, headers=bearer
        )
    document = answer.json()
    assert document["schema"] == "atoll.explain/1"
    for decision in ("steering", "routing"):
        candidates = {candidate["region"]: candidate for candidate in document[decision]["candidates"]}
        assert candidates.keys() == three.cells.keys()
        assert not candidates["eu-west"]["eligible"]
        assert "unhealthy" in candidates["eu-west"]["reason"]
        assert document[decision]["chosen"] == "us-east"
    assert unknown.status_code == 404 and "known: echo" in unknown.json()["detail"]


async def test_steering_for_clients_without_an_entry(three: World) -> None:
    async with client() as http:
        document = (
            await http.get(f"{three.url('us-east')}/-/steer", headers={"X-Forwarded-For": JAPAN})
        ).json()
        unknown = (await http.get(f"{three.url()}/-/steer")).json()
        spoofed = None
        async with from_address("127.0.0.2") as other:
            spoofed = (await other.get(f"{three.url()}/-/steer", headers={"X-Forwarded-For": JAPAN})).json()
    assert [gateway["region"] for gateway in document["gateways"]] == ["ap-northeast", "us-east", "eu-west"]
    assert document["gateways"][0]["url"] == three.url("ap-northeast")
    assert (document["ttl_s"], document["topology_revision"], document["place"]["country"]) == (30, 1, "JP")
    assert unknown["place"]["source"] == spoofed["place"]["source"] == "private"
    assert unknown["gateways"][0]["region"] == "us-east"


async def test_ready_and_alive(three: World) -> None:
    async with client() as http:
        assert (await http.get(f"{three.url()}/-/healthz")).status_code == 200
        assert (await http.get(f"{three.url()}/-/readyz")).status_code == 200
        missing = await http.get(f"{three.url()}/-/nothing")
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
        for cell in three.cells.values():
            await cell.kill()
        await until(lambda: not any(health.healthy for health in three.entry.board.health().values()))
        assert (await http.get(f"{three.url()}/-/readyz")).status_code == 503
        assert (await http.get(f"{three.url()}/-/healthz")).status_code == 200


async def test_the_client_that_goes_away_is_noticed_at_the_replica(three: World) -> None:
    replica = three.cells["eu-west"].replicas[0]
    async with client() as http:
        waiting = asyncio.ensure_future(
            http.get(f"{three.url()}/echo/hold", headers={"X-Forwarded-For": IRELAND})
        )
        await replica.reached()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert replica.server is not None
    server = replica.server
    await until(lambda: server.statistics().disconnects == 1)


async def test_the_access_log_has_a_line_for_each_request_and_can_be_switched_off(three: World) -> None:
    def lines() -> list[dict[str, object]]:
        three.entry.access_log.flush()
        return [json.loads(line) for line in three.log.getvalue().splitlines()]

    async with client() as http:
        await http.get(
            f"{three.url()}/echo/x?card=secret", headers={"X-Request-Id": "one", "X-Forwarded-For": JAPAN}
        )
        await http.get(f"{three.url()}/echo-eu/a-key", headers={"X-Request-Id": "two"})
        await until(lambda: len(lines()) == 2)
        first, second = lines()
        assert (first["request_id"], first["client"], first["path"]) == ("one", JAPAN, "/echo/x")
        assert (first["service"], first["region"], first["status"]) == ("echo", "ap-northeast", 200)
        assert "secret" not in three.log.getvalue()
        assert (second["request_id"], second["path"]) == ("two", None), (
            "keys are not logged outside their zones"
        )
        text = three.topology_file.read_text().replace("revision = 1", "revision = 2")
        three.topology_file.write_text(text + "[gateway]\naccess_log = false\n")
        await until(lambda: three.entry.topology.revision == 2)
        await http.get(f"{three.url()}/echo/x")
    assert len(lines()) == 2
