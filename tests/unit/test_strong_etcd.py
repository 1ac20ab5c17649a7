"""The etcd backend against a stand-in that follows etcd's documents; the integration tests have the real one."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from tests.unit.agent_alone import TOPOLOGY, agent_config
from tests.unit.strong_local import NAMESPACE, battery

from atoll.agent.state import StateAgent
from atoll.clock import ManualClock
from atoll.state.strong.backend import ABSENT, ANY, Change, Committed, Unavailable, Unknown, Versioned
from atoll.state.strong.etcd import REMEMBERED_S, Etcd
from atoll.topology import parse


class Gateway:
    """The part of etcd's JSON gateway that is used: ranges, transactions, leases that are never revoked."""

    def __init__(self) -> None:
        self.revision = 1
        self.keys: dict[str, tuple[str, int, int]] = {}
        """Key -> value, modification revision, version; keys and values as base64."""
        self.leases: set[str] = set()
        self.fail: httpx.Response | httpx.TransportError | None = None
        self.fail_after = False
        """Fails when the work is done."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        failure, self.fail = self.fail, None
        if failure is not None and not self.fail_after:
            return self._raised(failure)
        body = json.loads(request.content)
        match request.url.path:
            case "/v3/kv/range":
                answer = {"header": self._header(), **self._range(body)}
            case "/v3/kv/txn":
                answer = self._transaction(body, self.revision + 1)
                self.revision += 1
            case "/v3/lease/grant":
                lease = str(7000 + len(self.leases))
                self.leases.add(lease)
                answer = {"header": self._header(), "ID": lease, "TTL": body["TTL"]}
            case _:
                return httpx.Response(404, json={"error": "Not Found", "code": 5})
        return httpx.Response(200, json=answer) if failure is None else self._raised(failure)

    def _raised(self, failure: httpx.Response | httpx.TransportError) -> httpx.Response:
        if isinstance(failure, httpx.Response):
            return failure
        raise failure

    def _header(self) -> Mapping[str, str]:
        return {"revision": str(self.revision)}

    def _range(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self.keys.get(body["key"])
        if found is None:
            return {}
        value, revision, _ = found
        entry = {"key": body["key"], "mod_revision": str(revision)} | ({"value": value} if value else {})
        return {"kvs": [entry], "count": "1"}

    def _transaction(self, body: Mapping[str, Any], revision: int) -> dict[str, Any]:
        met = all(self._met(compare) for compare in body.get("compare", []))
        orders = body.get("success" if met else "failure", [])
        responses = [self._carry(order, revision) for order in orders]
        # As the gateway does: what is false is left out.
        return {"header": {"revision": str(revision)}, "responses": responses} | (
            {"succeeded": True} if met else {}
        )

    def _met(self, compare: Mapping[str, Any]) -> bool:
        _, revision, version = self.keys.get(compare["key"], ("", 0, 0))
        if compare["target"] == "VERSION":
            return version == int(compare["version"])
        return revision == int(compare["mod_revision"])

    def _carry(self, order: Mapping[str, Any], revision: int) -> Mapping[str, Any]:
        [(kind, body)] = order.items()
        match kind:
            case "request_range":
                return {"response_range": self._range(body)}
            case "request_put":
                assert "lease" not in body or body["lease"] in self.leases
                _, _, version = self.keys.get(body["key"], ("", 0, 0))
                self.keys[body["key"]] = (body["value"], revision, version + 1)
                return {"response_put": {}}
            case "request_delete_range":
                gone = self.keys.pop(body["key"], None)
                return {"response_delete_range": {"deleted": "1"} if gone else {}}
            case _:
                return {"response_txn": self._transaction(body, revision)}


def etcd(
    gateway: Gateway, clock: ManualClock | None = None, endpoints: tuple[str, ...] = ("http://e1",)
) -> Etcd:
    client = httpx.AsyncClient(transport=httpx.MockTransport(gateway))
    return Etcd(client, endpoints, clock or ManualClock())


async def test_the_battery() -> None:
    await battery(etcd(Gateway()))


NAMED = """
[namespaces.{name}]
level = "strong"
backend = "etcd"
etcd = ["http://127.0.0.1:{port}"]
"""


async def test_an_agent_takes_up_the_etcd_of_a_new_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    gateway = Gateway()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.netloc.decode())
        return gateway(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    monkeypatch.setattr("atoll.agent.state.httpx.AsyncClient", lambda **_: client)
    first = NAMED.format(name="stock", port=2379)
    topology = parse(TOPOLOGY.format(revision=1) + first)
    agent = StateAgent(agent_config(tmp_path), b"secret", topology, ManualClock(), Random(1))
    try:
        assert await agent.strong.get("stock", "apple", 1.0) is None
        with pytest.raises(Unavailable):
            await agent.strong.get("leases", "apple", 1.0)
        lease = agent._etcds["http://127.0.0.1:2379",]
        agent._take_up(parse(TOPOLOGY.format(revision=2) + first + NAMED.format(name="leases", port=2380)))
        assert await agent.strong.get("leases", "apple", 1.0) is None
        assert await agent.strong.get("stock", "apple", 1.0) is None
        assert asked == ["127.0.0.1:2379", "127.0.0.1:2380", "127.0.0.1:2379"]
        assert agent._etcds["http://127.0.0.1:2379",] is lease, "what it remembers is kept"
        agent._take_up(parse(TOPOLOGY.format(revision=3) + first))
        with pytest.raises(Unavailable):
            await agent.strong.get("leases", "apple", 1.0)
    finally:
        await agent.close()


async def test_a_broken_connection_leaves_a_change_unknown_and_its_repetition_finds_the_outcome() -> None:
    gateway = Gateway()
    backend = etcd(gateway)
    await backend.change(NAMESPACE, "apple", Change(ANY, b"v0", "0"))
    gateway.fail, gateway.fail_after = httpx.ReadError("reset"), True
    change = Change(ANY, b"v1", "1")
    with pytest.raises(Unknown, match="same operation id"):
        await backend.change(NAMESPACE, "apple", change)
    done = await backend.get(NAMESPACE, "apple")
    assert done is not None and done.value == b"v1"
    assert await backend.change(NAMESPACE, "apple", change) == Committed(done.version)
    assert await backend.get(NAMESPACE, "apple") == done


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (httpx.ConnectError("refused"), Unavailable),
        (httpx.Response(401, json={"error": "invalid auth token", "code": 16}), Unavailable),
        (httpx.Response(404, json={"error": "requested lease not found", "code": 5}), Unavailable),
        (httpx.Response(503, json={"error": "request timed out", "code": 14}), Unknown),
        (httpx.Response(502, text="<html>"), Unknown),
        (httpx.ReadTimeout("slow"), Unknown),
    ],
)
async def test_each_failure_of_a_change_is_what_it_is(
    failure: httpx.Response | httpx.TransportError, raised: type[Exception]
) -> None:
    gateway = Gateway()
    backend = etcd(gateway)
    await backend.change(NAMESPACE, "apple", Change(ANY, b"v0", "0"))
    gateway.fail = failure
    with pytest.raises(raised):
        await backend.change(NAMESPACE, "apple", Change(ANY, b"v1", "1"))
    gateway.fail = failure
    with pytest.raises(Unavailable):
        await backend.get(NAMESPACE, "apple")
    assert isinstance(await backend.change(NAMESPACE, "apple", Change(ANY, b"v2", "2")), Committed)


async def test_the_next_endpoint_is_asked_where_one_fails() -> None:
    gateway = Gateway()
    backend = etcd(gateway, endpoints=("http://e1", "http://e2"))
    await backend.change(NAMESPACE, "apple", Change(ABSENT, b"v0", "0"))
    gateway.fail = httpx.ConnectError("refused")
    found = await backend.get(NAMESPACE, "apple")
    assert isinstance(found, Versioned) and found.value == b"v0"


async def test_outcomes_are_kept_by_a_lease_that_is_drawn_anew_in_time() -> None:
    gateway, clock = Gateway(), ManualClock()
    backend = etcd(gateway, clock)
    for turn in range(3):
        await backend.change(NAMESPACE, "apple", Change(ANY, b"v", f"{turn}"))
    assert len(gateway.leases) == 1
    clock.advance(REMEMBERED_S)
    await backend.change(NAMESPACE, "apple", Change(ANY, b"v", "later"))
    assert len(gateway.leases) == 2


def test_a_value_is_sent_as_base64() -> None:
    transaction = etcd(Gateway())._transaction(NAMESPACE, "apple", Change(5, b"\xff", "op"))
    [inner] = transaction["success"]
    assert inner["request_txn"]["success"][0]["request_put"]["value"] == base64.b64encode(b"\xff").decode()
    assert inner["request_txn"]["compare"][0]["mod_revision"] == "5"
