"""``Idempotency-Key`` on gateways before real state stores: each row of the table in the gateway's README is a test."""

import asyncio
import contextlib
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.integration.gateways import (
    IRELAND,
    JAPAN,
    TOKEN,
    VIRGINIA,
    Replica,
    World,
    client,
    world,
)
from tests.integration.patient import PATIENT, patience
from tests.integration.ports import free_port
from tests.integration.stores import Store, state_stores

from atoll.clock import ManualClock, SystemClock
from atoll.resilience.idempotency import Claim, Claimed, Records, Settlement
from atoll.topology.wiring import Address, write_gateway_wiring
from atoll_gateway.gateway import Gateway
from atoll_gateway.keys.contract import Keys
from atoll_gateway.keys.peer import PeerKeys
from atoll_gateway.keys.store import StoreKeys
from atoll_gateway.run import serving

REGIONS = ("us-east", "eu-west", "ap-northeast")
SERVICES = """
[services.echo-short]
route_prefix = "/echo-short"
import_path = "tests.echo:app"
timeout = "7s"
idempotency_ttl = "8s"
[services.echo-kept]
route_prefix = "/echo-kept"
import_path = "tests.echo:app"
idempotency = "service"
[services.echo-off]
route_prefix = "/echo-off"
import_path = "tests.echo:app"
idempotency = "off"
"""
PATIENT_S = 60.0
LATER = {"key-in-flight", "key-store-unavailable"}
"""Who is told this tries again with the same key."""
SOON = {"Atoll-Timeout": "5s"}
"""A deadline that a test waits for; time enough for a slow machine to get the request to a replica."""

pytestmark = pytest.mark.timeout(240)


@dataclass(slots=True)
class Deployment:
    """Three cells, an entry, and a state store in each region."""

    world: World
    stores: dict[str, Store]
    folder: Path

    def executed(self) -> Counter[str]:
        """How often each region's replicas were asked, requests that they refused included."""
        return Counter(
            {region: len(self.world.seen(region)) for region in REGIONS if self.world.seen(region)}
        )

    async def post(
        self, start: str | None, path: str, key: str | None = '"k-1"', **more: object
    ) -> httpx.Response:
        """A POST of a client in Ireland (or `place`), whose keys have their home in eu-west."""
        place = str(more.pop("place", IRELAND))
        extra = more.pop("headers", {})
        assert isinstance(extra, dict)
        headers = {"X-Forwarded-For": place, **extra, **({} if key is None else {"Idempotency-Key": key})}
        content = more.pop("content", b"buy")
        assert isinstance(content, bytes) and not more
        async with client() as http:
            http.timeout = httpx.Timeout(PATIENT_S)
            return await http.post(self.world.url(start) + path, content=content, headers=headers)

    async def restart(self, region: str) -> None:
        """The region's gateway dies and a new process takes its place; replicas and store live on."""
        cell = self.world.cells[region]
        await cell.stack.aclose()
        clock = SystemClock()
        gateway = Gateway(cell.wiring, clock, random.Random(9), None)
        await cell.stack.enter_async_context(serving(gateway, clock, random.Random(9)))
        addresses = tuple(Address("127.0.0.1", replica.port) for replica in cell.replicas)
        placed = [service.name for service in gateway.topology.services_in(region)]
        gateway.replicas.update(dict.fromkeys(placed, addresses))
        cell.gateway = gateway


@contextlib.asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    async with state_stores(folder, REGIONS) as stores:
        access = {region: store.access for region, store in stores.items()}
        with patience():
            async with world(folder, topology=PATIENT + SERVICES, state=access) as made:
                yield Deployment(made, dict(stores), folder)


@pytest.fixture
async def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deployment]:
    """Its gateways wait for a store as briefly as they do in earnest: on a slow machine also for one that answers.

    Nothing but that ends the wait: the store's client would be patient.
    """
    monkeypatch.setattr("atoll.stores.TIMEOUT_S", PATIENT_S)
    async with deployment(tmp_path) as made:
        yield made


@pytest.fixture
async def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deployment]:
    """Its gateways wait for a store for as long as a slow machine takes."""
    monkeypatch.setattr("atoll.stores.TIMEOUT_S", PATIENT_S)
    monkeypatch.setattr("atoll_gateway.gateway.StoreKeys", partial(StoreKeys, wait_s=PATIENT_S))
    monkeypatch.setattr("atoll_gateway.keys.homes.PeerKeys", partial(PeerKeys, wait_s=PATIENT_S))
    async with deployment(tmp_path) as made:
        yield made


def kind(response: httpx.Response) -> str:
    """The problem's type, or that it is an answer given again, or a first one."""
    if response.headers.get("content-type") == "application/problem+json":
        return str(response.json()["type"]).removeprefix("urn:atoll:problem:")
    return "replayed" if response.headers.get("idempotency-replayed") == "true" else "executed"


async def fifty(three: Deployment, path: str) -> Counter[str]:
    starts = [None, *REGIONS]
    answers = await asyncio.gather(*(three.post(starts[number % 4], path) for number in range(50)))
    return Counter(kind(answer) for answer in answers)


async def arrived(replica: Replica) -> None:
    """A request to ``.../hold`` has come to the replica, and waits there."""
    await replica.reached()


# --- while nothing fails


async def test_of_fifty_requests_at_once_through_four_gateways_one_is_executed(three: Deployment) -> None:
    told = await fifty(three, "/echo/mirror")
    assert told["executed"] == 1 and three.executed().total() == 1
    assert told["replayed"] + told["key-in-flight"] == 49, told
    again = await three.post("ap-northeast", "/echo/mirror")
    assert (again.status_code, again.content, kind(again)) == (200, b"buy", "replayed")


async def test_without_a_claim_more_than_one_of_fifty_is_executed(
    three: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: every claim is granted, so the records no longer stand between."""

    async def granted(self: Keys, claim: Claim) -> Claimed:
        return Records(ManualClock()).claim(claim)

    monkeypatch.setattr("atoll_gateway.keys.store.StoreKeys.claim", granted)
    told = await fifty(three, "/echo/mirror")
    assert told["executed"] == 50 == three.executed().total()


async def test_the_first_answer_is_given_again_through_any_gateway_and_the_entry(three: Deployment) -> None:
    first = await three.post("us-east", "/echo/mirror")
    assert first.headers["atoll-region"] == "us-east" and "idempotency-replayed" not in first.headers
    for start in (None, *REGIONS):
        again = await three.post(start, "/echo/mirror", key="k-1")
        assert (again.status_code, again.content) == (200, b"buy")
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["atoll-region"] == "us-east", "where it was produced"
        assert again.headers["atoll-attempts"] == "0"
        assert again.headers["content-length"] == "3"
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert three.executed() == {"us-east": 1}


async def test_every_answer_of_a_service_is_its_first_answer(three: Deployment) -> None:
    statuses = (201, 204, 400, 404, 500, 503)
    for status in statuses:
        first = await three.post(None, f"/echo/{status}", key=f"k-{status}")
        again = await three.post("us-east", f"/echo/{status}", key=f"k-{status}")
        assert first.status_code == again.status_code == status
        assert kind(again) == "replayed"
    assert three.executed().total() == len(statuses)


async def test_an_answer_of_unknown_length_is_kept_if_it_is_short(three: Deployment) -> None:
    first = await three.post(None, "/echo/stream")
    again = await three.post("us-east", "/echo/stream")
    assert first.text == again.text == "0\n1\n2\n3\n4\n"
    assert kind(again) == "replayed" and three.executed().total() == 1


async def test_an_answer_over_64_kib_is_not_kept_and_the_request_not_executed_again(
    three: Deployment,
) -> None:
    for cell in three.world.cells.values():
        cell.replicas[0].says = (200, b"x" * 70_000)
    first = await three.post(None, "/echo/x")
    again = await three.post("us-east", "/echo/x")
    assert (first.status_code, len(first.content)) == (200, 70_000)
    assert (again.status_code, kind(again)) == (409, "answer-not-kept")
    assert "status 200" in again.json()["detail"]
    assert three.executed().total() == 1


async def test_a_request_while_the_first_is_under_way_gets_409(three: Deployment) -> None:
    replica = three.world.cells["eu-west"].replicas[0]
    first = asyncio.ensure_future(three.post(None, "/echo/hold"))
    await arrived(replica)
    for start in (None, *REGIONS):
        second = await three.post(start, "/echo/hold")
        assert (second.status_code, kind(second)) == (409, "key-in-flight")
        assert second.headers["retry-after"] == "1" and "atoll-region" not in second.headers
    replica.held.set()
    assert kind(await first) == "executed"
    assert three.executed() == {"eu-west": 1}


async def test_another_request_under_the_same_key_gets_422(three: Deployment) -> None:
    assert (await three.post(None, "/echo/mirror")).status_code == 200
    others = [
        await three.post("us-east", "/echo/mirror", content=b"sell"),
        await three.post(None, "/echo/other"),
        await three.post(None, "/echo/mirror?twice=1"),
        await three.post(None, "/echo/mirror", headers={"Content-Type": "text/plain"}),
    ]
    async with client() as http:
        others.append(
            await http.patch(
                three.world.url() + "/echo/mirror",
                content=b"buy",
                headers={"X-Forwarded-For": IRELAND, "Idempotency-Key": '"k-1"'},
            )
        )
    assert {(other.status_code, kind(other)) for other in others} == {(422, "key-reused")}
    assert three.executed().total() == 1


async def test_a_key_belongs_to_a_service_and_to_who_shows_the_same_authorization(three: Deployment) -> None:
    for headers in ({}, {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}):
        assert kind(await three.post(None, "/echo/mirror", headers=headers)) == "executed"
        assert kind(await three.post(None, "/echo/mirror", headers=headers)) == "replayed"
    assert kind(await three.post(None, "/echo-short/mirror")) == "executed"


async def test_a_key_is_forgotten_after_its_time_to_live(three: Deployment) -> None:
    assert kind(await three.post(None, "/echo-short/mirror")) == "executed"
    assert kind(await three.post("us-east", "/echo-short/mirror")) == "replayed"
    async with asyncio.timeout(60):
        while await three.stores["eu-west"].content():
            await asyncio.sleep(0.05)
    assert kind(await three.post(None, "/echo-short/mirror")) == "executed"


async def test_what_is_no_key_gets_400(three: Deployment) -> None:
    async with client() as http:
        for path in ("/echo/mirror", "/echo-kept/mirror"):
            url = three.world.url() + path
            answers = [
                await http.post(url, headers=[(b"idempotency-key", key.encode())], content=b"buy")
                for key in ("", '""', "two words", '"open', "é", "x" * 256)
            ]
            answers.append(await http.post(url, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]))
            assert {(answer.status_code, kind(answer)) for answer in answers} == {(400, "bad-header")}
            assert all("Idempotency-Key" in answer.json()["detail"] for answer in answers)
    assert not three.executed()


async def test_a_keyed_body_over_64_kib_gets_413(three: Deployment) -> None:
    at = await three.post(None, "/echo/mirror", content=b"x" * 65_536)
    over = await three.post(None, "/echo/mirror", key="k-2", content=b"x" * 65_537)
    assert kind(at) == "executed"
    assert (over.status_code, kind(over)) == (413, "key-body-too-large")
    assert three.executed().total() == 1
    elsewhere = await three.post(None, "/echo-kept/mirror", content=b"x" * 65_537)
    assert elsewhere.status_code == 200, "a service that keeps keys itself takes any length"


async def test_a_key_means_nothing_on_an_idempotent_method_and_where_it_is_off(three: Deployment) -> None:
    async with client() as http:
        for _ in range(2):
            headers = {"Idempotency-Key": "not one key", "X-Forwarded-For": IRELAND}
            answer = await http.put(three.world.url() + "/echo/mirror", content=b"x", headers=headers)
            assert kind(answer) == "executed"
    assert kind(await three.post(None, "/echo-off/mirror")) == "executed"
    assert kind(await three.post(None, "/echo-off/mirror")) == "executed"
    assert three.executed().total() == 4
    assert not any([await store.content() for store in three.stores.values()])


async def test_a_key_and_its_answer_stay_inside_the_requests_zones(three: Deployment) -> None:
    """Clients elsewhere, gateways elsewhere, a service of one zone."""
    for number, (start, place) in enumerate(
        [(None, VIRGINIA), ("us-east", JAPAN), ("ap-northeast", VIRGINIA)]
    ):
        for told in ("executed", "replayed"):
            answer = await three.post(start, "/echo-eu/mirror", key=f"secret-key-{number}", place=place)
            assert (answer.headers["atoll-region"], kind(answer)) == ("eu-west", told)
    content = {region: await store.content() for region, store in three.stores.items()}
    assert {region: len(records) for region, records in content.items()} == {
        "us-east": 0,
        "eu-west": 3,
        "ap-northeast": 0,
    }
    for name, record in content["eu-west"].items():
        assert name.startswith(b"atoll:key:{") and record[b"v"] == b"1"
        assert b"secret-key" not in name + repr(record).encode()
    log = three.world.log.getvalue()
    assert "secret-key" not in log
    outside = await three.post("us-east", "/echo-eu-strict/mirror", key="k-9", place=IRELAND)
    assert (outside.status_code, kind(outside)) == (421, "transit-refused")


# --- while something fails


async def test_the_first_answer_survives_a_restart_of_every_gateway(three: Deployment) -> None:
    first = await three.post("us-east", "/echo/mirror")
    for region in REGIONS:
        await three.restart(region)
    again = await settled(three, "/echo/mirror")
    assert (first.content, kind(again)) == (again.content, "replayed")
    assert three.executed().total() == 1


async def test_the_first_answer_survives_a_crash_of_the_store(three: Deployment) -> None:
    first = await three.post(None, "/echo/mirror")
    await three.stores["eu-west"].kill()
    await three.stores["eu-west"].start()
    again = await settled(three, "/echo/mirror", "ap-northeast")
    assert (first.content, kind(again)) == (again.content, "replayed")
    assert three.executed().total() == 1


async def test_a_gateway_killed_in_mid_request_leaves_an_unknown_outcome(
    three: Deployment, tmp_path: Path
) -> None:
    """A real process, ended by SIGKILL: the second request is told 409 until the lease ends, then 502."""
    port = free_port()
    folder = tmp_path / "entry-2"
    folder.mkdir()
    wiring = replace(
        three.world.entry.wiring,
        public=Address("127.0.0.1", port),
        admin=Address("127.0.0.1", free_port()),
        state_dir=folder,
    )
    write_gateway_wiring(folder / "wiring.json", wiring)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "atoll_gateway",
        "--wiring",
        str(folder / "wiring.json"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    headers = {"Idempotency-Key": "k-1", "X-Forwarded-For": IRELAND, **SOON}
    url = f"http://127.0.0.1:{port}"
    hold = f"{url}/echo/hold"
    try:
        async with client() as http:
            async with asyncio.timeout(120):
                ready = False
                while not ready:
                    assert process.returncode is None, "it did not start"
                    with contextlib.suppress(httpx.TransportError):
                        ready = (await http.get(f"{url}/-/readyz")).status_code == 200
                    await asyncio.sleep(0.05)

            async def insisted() -> httpx.Response:
                # This process waits for stores as briefly as in earnest.
                while kind(answer := await http.post(hold, content=b"buy", headers=headers)) in LATER:
                    await asyncio.sleep(0.05)
                return answer

            first = asyncio.ensure_future(insisted())
            await arrived(three.world.cells["eu-west"].replicas[0])
            process.kill()
            with pytest.raises(httpx.TransportError):
                await first
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    early = await three.post("us-east", "/echo/hold", key="k-1")
    assert (early.status_code, kind(early)) == (409, "key-in-flight")
    late = await settled(three, "/echo/hold")
    assert (late.status_code, kind(late)) == (502, "outcome-unknown")
    assert three.executed() == {"eu-west": 1}, "never executed twice"


async def test_a_gateway_that_dies_in_its_own_region_leaves_an_unknown_outcome(three: Deployment) -> None:
    replica = three.world.cells["eu-west"].replicas[0]
    first = asyncio.ensure_future(three.post("eu-west", "/echo/hold", headers=SOON))
    await arrived(replica)
    await three.restart("eu-west")
    with pytest.raises(httpx.TransportError):
        await first
    assert kind(await settled(three, "/echo/hold")) == "outcome-unknown"
    assert three.executed() == {"eu-west": 1}


async def settled(
    three: Deployment, path: str, start: str | None = "us-east", key: str = '"k-1"'
) -> httpx.Response:
    """What a second request is told once the first is no longer in flight and the key's home can be reached.

    Until then it is told to try again with the same key, and does.
    """
    async with asyncio.timeout(60):
        while kind(answer := await three.post(start, path, key)) in LATER:
            assert answer.headers["retry-after"] == "1"
            await asyncio.sleep(0.05)
    return answer


async def test_a_region_lost_in_mid_request_leaves_an_unknown_outcome(three: Deployment) -> None:
    """The client is in Virginia, so the key's home lives on."""
    replica = three.world.cells["eu-west"].replicas[0]
    first = asyncio.ensure_future(three.post("eu-west", "/echo/hold", place=VIRGINIA))
    await arrived(replica)
    await replica.stop()
    assert (await first).status_code == 502 and kind(await first) == "outcome-unknown"
    replica.held.set()
    for start in (None, "us-east", "ap-northeast"):
        again = await three.post(start, "/echo/hold", place=VIRGINIA)
        assert (again.status_code, kind(again)) == (502, "outcome-unknown")
        assert "atoll-region" not in again.headers
    assert three.executed() == {"eu-west": 1}


async def test_a_service_that_keeps_keys_itself_may_be_asked_twice(three: Deployment) -> None:
    """The gateway keeps nothing, and the loss of the region is mended by another, which gets the same key."""
    replica = three.world.cells["eu-west"].replicas[0]
    for region in ("us-east", "ap-northeast"):
        three.world.cells[region].replicas[0].held.set()
    first = asyncio.ensure_future(three.post("eu-west", "/echo-kept/hold"))
    await arrived(replica)
    await replica.stop()
    answer = await first
    assert (answer.status_code, answer.headers["atoll-region"]) == (200, "us-east")
    assert three.executed() == {"eu-west": 1, "us-east": 1}
    keys = [
        headers["idempotency-key"] for region in REGIONS for (_, _, headers, _) in three.world.seen(region)
    ]
    assert keys == ['"k-1"'] * 2
    assert not any([await store.content() for store in three.stores.values()])


async def test_a_request_that_was_not_executed_frees_its_key(three: Deployment) -> None:
    for cell in three.world.cells.values():
        cell.replicas[0].says = (503, b"Request dropped due to backpressure")
    refused = await three.post(None, "/echo/mirror")
    assert refused.status_code == 503 and "retry-after" in refused.headers
    assert not any([await store.content() for store in three.stores.values()])
    for cell in three.world.cells.values():
        cell.replicas[0].says = None
    assert kind(await three.post("us-east", "/echo/mirror")) == "executed"


async def test_a_client_that_goes_away_finds_its_answer_later(three: Deployment) -> None:
    replica = three.world.cells["eu-west"].replicas[0]
    for start in (None, "eu-west"):
        replica.arrived.clear()
        replica.held.clear()
        key = f"gone-{start}"
        first = asyncio.ensure_future(three.post(start, "/echo/hold", key=key))
        await arrived(replica)
        first.cancel()
        gateway = three.world.entry if start is None else three.world.cells[start].gateway
        await asyncio.gather(first, return_exceptions=True)
        assert kind(await three.post(start, "/echo/hold", key=key)) == "key-in-flight"
        replica.held.set()
        await asyncio.wait_for(gateway.settling.finish(), 60)
        again = await three.post("us-east", "/echo/hold", key=key)
        assert (again.text, kind(again)) == ("eu-west", "replayed")
    assert three.executed() == {"eu-west": 2}


async def test_a_deadline_that_passes_leaves_an_unknown_outcome(three: Deployment) -> None:
    first = await three.post(None, "/echo/hold", headers=SOON)
    assert (first.status_code, kind(first)) == (504, "deadline-exceeded")
    again = await settled(three, "/echo/hold")
    assert (again.status_code, kind(again)) == (502, "outcome-unknown")
    assert three.executed() == {"eu-west": 1}


@pytest.mark.parametrize("start", [None, "eu-west"])
async def test_without_the_store_keyed_requests_get_503_and_others_do_not_notice(
    three: Deployment, start: str | None
) -> None:
    await three.post(start, "/echo/mirror", key="before")
    await three.stores["eu-west"].kill()
    keyed = await three.post(start, "/echo/mirror")
    assert (keyed.status_code, kind(keyed)) == (503, "key-store-unavailable")
    assert keyed.headers["retry-after"] == "1" and "eu-west" in keyed.json()["detail"]
    gateway = three.world.entry if start is None else three.world.cells[start].gateway
    assert gateway.settling.statistics().unsettled == 0, (
        "nothing was claimed, so there is nothing to take back"
    )
    assert kind(await three.post(start, "/echo/mirror", key=None)) == "executed"
    assert kind(await three.post(start, "/echo-kept/mirror")) == "executed"
    assert kind(await three.post(start, "/echo/mirror", place=VIRGINIA)) == "executed", "another home"
    assert three.executed().total() == 4
    await three.stores["eu-west"].start()
    assert kind(await settled(three, "/echo/mirror", start)) == "executed"


@pytest.mark.parametrize("start", [None, "eu-west"])
async def test_a_store_that_hangs_is_waited_for_briefly_and_keeps_no_key_it_did_not_grant(
    impatient: Deployment, start: str | None
) -> None:
    three = impatient
    assert kind(await settled(three, "/echo/mirror", start, key="before")) == "executed"
    three.stores["eu-west"].freeze()
    began = time.monotonic()
    keyed = await three.post(start, "/echo/mirror")
    waited = time.monotonic() - began
    assert (keyed.status_code, kind(keyed)) == (503, "key-store-unavailable")
    assert re.search(r"no answer within (0\.5|1\.5) s|answered 500", keyed.json()["detail"]), keyed.text
    assert waited < 15, "what it says, and slack for a busy machine; the deadline is 30 s"
    assert kind(await three.post(start, "/echo/mirror", key=None)) == "executed"
    three.stores["eu-west"].thaw()
    # The claim waited in the store's socket and is granted now, to nobody: it is taken back.
    answer = await settled(three, "/echo/mirror")
    assert kind(answer) == "executed"
    assert three.executed().total() == 3


async def test_a_home_that_is_lost_leaves_keyed_requests_unexecuted_and_others_unharmed(
    three: Deployment,
) -> None:
    await three.world.cells["eu-west"].kill()
    keyed = await three.post(None, "/echo/mirror")
    assert (keyed.status_code, kind(keyed)) == (503, "key-store-unavailable")
    assert kind(await three.post(None, "/echo/mirror", key=None)) == "executed"
    assert kind(await three.post(None, "/echo/mirror", place=JAPAN)) == "executed"
    assert three.executed() == {"us-east": 1, "ap-northeast": 1}


async def test_a_full_store_refuses_new_keys_and_still_takes_the_answers_to_old_ones(
    three: Deployment,
) -> None:
    assert kind(await three.post(None, "/echo/mirror", key="old")) == "executed"
    replica = three.world.cells["eu-west"].replicas[0]
    first = asyncio.ensure_future(three.post(None, "/echo/hold", key="under-way"))
    await arrived(replica)
    async with three.stores["eu-west"].client() as store:
        await store.config_set("maxmemory", "1")
    refused = await three.post(None, "/echo/mirror", key="new")
    assert (refused.status_code, kind(refused)) == (503, "key-store-unavailable")
    assert kind(await three.post("us-east", "/echo/mirror", key="old")) == "replayed"
    replica.held.set()
    assert kind(await first) == "executed"
    assert kind(await three.post("us-east", "/echo/hold", key="under-way")) == "replayed"
    assert three.executed() == {"eu-west": 2}


@pytest.mark.parametrize("start", [None, "eu-west"])
async def test_a_store_that_dies_in_mid_request_costs_the_record_not_the_answer(
    three: Deployment, start: str | None
) -> None:
    """The client gets its answer, marked; the record is written once the store is back, within the lease."""
    replica = three.world.cells["eu-west"].replicas[0]
    first = asyncio.ensure_future(three.post(start, "/echo/hold"))
    await arrived(replica)
    await three.stores["eu-west"].kill()
    replica.held.set()
    answer = await first
    assert (answer.status_code, answer.text, answer.headers["idempotency-kept"]) == (200, "eu-west", "false")
    assert kind(await three.post("us-east", "/echo/hold")) == "key-store-unavailable"
    await three.stores["eu-west"].start()
    again = await settled(three, "/echo/hold")
    assert (again.text, kind(again)) == ("eu-west", "replayed")
    assert three.executed() == {"eu-west": 1}


async def test_a_store_that_is_gone_past_the_lease_leaves_an_unknown_outcome(three: Deployment) -> None:
    replica = three.world.cells["eu-west"].replicas[0]
    first = asyncio.ensure_future(three.post("eu-west", "/echo/hold", headers=SOON))
    await arrived(replica)
    await three.stores["eu-west"].kill()
    replica.held.set()
    assert (await first).headers["idempotency-kept"] == "false"
    gateway = three.world.cells["eu-west"].gateway
    await asyncio.wait_for(gateway.settling.finish(), 60)
    assert gateway.settling.statistics().given_up == 1
    await three.stores["eu-west"].start()
    assert kind(await settled(three, "/echo/hold")) == "outcome-unknown"
    assert three.executed() == {"eu-west": 1}


# --- the parts


async def test_only_gateways_may_ask_for_keys(three: Deployment) -> None:
    peer = three.world.cells["eu-west"].wiring.peer
    assert peer is not None
    async with client() as http:
        for order in ("claim", "settle"):
            stranger = await http.post(f"{peer.url}/-/peer/keys/{order}", content=b"{}")
            assert (stranger.status_code, kind(stranger)) == (401, "not-a-peer")
        await http.post(f"{peer.url}/-/peer/hello", headers={"Authorization": f"Bearer {TOKEN}"})
        for order, content in (("claim", b"{}"), ("claim", b"no json"), ("settle", b"x" * 300_000)):
            nonsense = await http.post(f"{peer.url}/-/peer/keys/{order}", content=content)
            assert (nonsense.status_code, kind(nonsense)) == (400, "bad-order")


async def test_a_region_keeps_no_key_of_a_service_that_may_not_be_there(three: Deployment) -> None:
    """A gateway with an older topology may ask for it."""
    peer = three.world.cells["us-east"].wiring.peer
    assert peer is not None
    order = b'{"claim":{"service":"echo-eu","record":"r","fingerprint":"f","token":"t","lease_ms":1,"ttl_ms":9}}\n'
    async with client() as http:
        await http.post(f"{peer.url}/-/peer/hello", headers={"Authorization": f"Bearer {TOKEN}"})
        refused = await http.post(f"{peer.url}/-/peer/keys/claim", content=order)
        taken = await http.post(f"{peer.url}/-/peer/keys/claim", content=order.replace(b"echo-eu", b"echo"))
    assert (refused.status_code, kind(refused)) == (403, "keys-not-here")
    assert (taken.status_code, taken.content) == (200, b'{"standing":"claimed","settled":false}\n')


async def test_the_stores_scripts_do_what_the_model_does(tmp_path: Path) -> None:
    seed = 11
    print(f"seed {seed}")
    chance = random.Random(seed)
    clock = ManualClock()
    model = Records(clock)
    async with state_stores(tmp_path, ("one",)) as stores:
        keys = StoreKeys(stores["one"].client(), wait_s=PATIENT_S)
        try:
            for number in range(1500):
                claim = Claim(
                    "echo", str(number % 200), chance.choice("fg"), chance.choice("abc"),
                    chance.choice((0, 3_600_000)), 3_600_000,
                )  # fmt: skip
                clock.advance(0.001)
                if chance.random() < 0.6:
                    assert await keys.claim(claim) == model.claim(claim), number
                else:
                    settlement = chance.choice(list(Settlement))
                    answer = chance.randbytes(20)
                    kept = await keys.settle(claim, settlement, answer)
                    assert kept == model.settle(claim, settlement, answer), number
        finally:
            await keys.close()
