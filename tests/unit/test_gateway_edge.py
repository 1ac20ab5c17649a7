"""What the edge remembers of a connection, and what it must not."""

import dataclasses
from pathlib import Path

from atoll.clock import ManualClock
from atoll.geo.geoip import GeoIp
from atoll.resilience.criticality import Criticality
from atoll.telemetry.trace import Ids
from atoll.topology.load import load
from atoll_gateway.call_context import CallContexts
from atoll_gateway.edge import Edge
from atoll_gateway.http.connection import Connection
from atoll_gateway.http.exchange import Message, Scope
from atoll_gateway.message import Request
from atoll_gateway.table import compile_table

TOPOLOGY = load(Path(__file__).parents[2] / "infra" / "topologies" / "local.toml")
Fields = list[tuple[bytes, bytes]]


class Client:
    """A connection to an edge."""

    def __init__(self) -> None:
        self.table = compile_table(TOPOLOGY)
        clock = ManualClock()
        self.edge = Edge(self.table, GeoIp(), CallContexts(b"key", clock), clock, Ids())
        self.connection = Connection(("127.0.0.1", 1))

    async def ask(self, *fields: tuple[bytes, bytes], path: bytes = b"/quote") -> Request:
        scope: Scope = {
            "method": "GET",
            "raw_path": path,
            "path": path.decode(),
            "atoll.target": path,
            "headers": [(b"host", b"a"), *fields],
            "extensions": {},
        }
        service = self.edge.service(scope)
        return await self.edge.admit(scope, _nothing, self.connection, service, self.edge.request_id(scope))


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_what_is_said_again_is_not_read_again() -> None:
    client = Client()
    first, second = await client.ask((b"accept", b"*/*")), await client.ask((b"accept", b"*/*"))
    assert second.headers is first.headers
    assert (
        second.lines == b"host: a\r\naccept: */*\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n"
    )
    assert second.id != first.id
    assert second.trace.trace_id != first.trace.trace_id
    assert second.attempts is not first.attempts


async def test_each_client_behind_one_proxy_is_itself() -> None:
    client = Client()
    american = await client.ask((b"x-forwarded-for", b"52.86.10.20"))
    japanese = await client.ask((b"x-forwarded-for", b"133.11.0.10"))
    assert (american.client, american.place.country) == ("52.86.10.20", "US")
    assert (japanese.client, japanese.place.country) == ("133.11.0.10", "JP")
    assert b"133.11.0.10" in japanese.lines


async def test_what_differs_between_requests_differs() -> None:
    client = Client()
    assert (await client.ask((b"atoll-criticality", b"sheddable"))).criticality is Criticality.SHEDDABLE
    assert (await client.ask()).criticality is Criticality.DEFAULT
    assert (await client.ask((b"atoll-timeout", b"1s"))).deadline.seconds == 1.0
    assert (await client.ask((b"atoll-timeout", b"2s"))).deadline.seconds == 2.0
    assert (await client.ask((b"idempotency-key", b'"k"'))).key == b'"k"'


async def test_another_service_has_its_own_zones_and_time() -> None:
    client = Client()
    everywhere = await client.ask()
    european = await client.ask(path=b"/quote-eu")
    assert everywhere.zones > european.zones == {"eu"}


async def test_another_topology_is_believed_at_once() -> None:
    client = Client()
    before = await client.ask()
    services = {**TOPOLOGY.services, "quote": dataclasses.replace(TOPOLOGY.services["quote"], timeout_s=1.0)}
    client.edge.use(compile_table(dataclasses.replace(TOPOLOGY, services=services)))
    assert before.deadline.seconds == 15.0
    assert (await client.ask()).deadline.seconds == 1.0


async def test_a_connection_that_became_a_peers_is_believed_at_once() -> None:
    client = Client()
    assert not (await client.ask((b"atoll-hop", b"1"))).forwarded
    client.connection.trusted = True
    assert (await client.ask((b"atoll-hop", b"1"))).forwarded


async def test_a_note_is_read_each_time_since_it_expires() -> None:
    client = Client()
    await client.ask((b"atoll-context", b"nonsense"))
    assert client.connection.memo is None
