"""From what came off the wire to a checked `Request`: id, trace, place, deadline, zones, body.

What peers say of a request counts on a trusted peer connection alone; everybody else's is dropped here. What a gateway
noted for a service's own calls counts from anywhere: it is signed.
"""

import asyncio
from dataclasses import dataclass
from urllib.parse import unquote

from atoll.clock import Clock
from atoll.geo.geoip import GeoIp
from atoll.geo.place import Place
from atoll.resilience.criticality import CRITICALITIES, Criticality
from atoll.resilience.deadline import Deadline, parse_deadline_ms, parse_timeout
from atoll.routing.residency import allowed_zones
from atoll.telemetry.trace import Ids, TraceContext, accept_request_id, parse_traceparent
from atoll.topology import Idempotency, Service
from atoll_gateway import problems
from atoll_gateway.body import EMPTY, BodyTooLarge, HeldBody, StreamedBody, read_body
from atoll_gateway.call_context import CallContexts
from atoll_gateway.headers import DROPPED_FROM_REQUESTS, end_to_end, write_lines
from atoll_gateway.http.connection import Connection
from atoll_gateway.http.exchange import Receive, Scope
from atoll_gateway.http.problem import Problem
from atoll_gateway.http.upgrade import UPGRADE
from atoll_gateway.message import Headers, Request
from atoll_gateway.table import CALL, Table

DROPPED_WITHOUT_TRACE = DROPPED_FROM_REQUESTS | {b"tracestate"}
"""A trace state without a sound trace belongs to nothing (W3C Trace Context, section 3.3)."""


class Rejected(Exception):
    """A request that is answered at the edge."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Edge:
    """Checks requests and finds out what the layers need to know of them."""

    def __init__(self, table: Table, geo: GeoIp, contexts: CallContexts, clock: Clock, ids: Ids) -> None:
        self._table = table
        self._geo = geo
        self._contexts = contexts
        self._clock = clock
        self._ids = ids
        self._zones: dict[tuple[str, str | None], frozenset[str]] = {}

    def use(self, table: Table) -> None:
        """Takes up another topology."""
        self._table = table
        self._zones.clear()

    def request_id(self, scope: Scope) -> str:
        """The client's request id if it is a sound one, else a new one."""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                return accept_request_id(value) or self._ids.request_id()
        return self._ids.request_id()

    def service(self, scope: Scope) -> Service:
        """The service that a request is for. Raises `Rejected` if there is none."""
        path = scope["raw_path"]
        if path.startswith(CALL) and (meant := self._table.path_of_call(path)) is not None:
            scope["atoll.target"] = meant + scope["atoll.target"][len(path) :]
            scope["raw_path"] = path = meant
            scope["path"] = unquote(path.decode("ascii"))
        service = self._table.service_of(path)
        if service is None:
            prefixes = [known.route_prefix for known in self._table.topology.services.values()]
            raise Rejected(problems.no_such_service(prefixes))
        return service

    async def admit(
        self, scope: Scope, receive: Receive, connection: Connection, service: Service, request_id: str
    ) -> Request:
        """Checks a request of a service and takes in its body if it is short. Raises `Rejected` or `ClientGone`."""
        headers = scope["headers"]
        known = connection.memo
        # Clients on a kept connection say the same of themselves in each request.
        if not isinstance(known, _Known) or not known.holds(
            headers, service, self._table, connection.trusted
        ):
            known = self._learn(headers, service, connection)
        deadline = Deadline(self._clock, known.timeout_s)
        body: HeldBody | StreamedBody = EMPTY
        length = known.length
        if length != 0:
            try:
                async with asyncio.timeout(deadline.remaining_s):
                    body = await read_body(receive, length, service.max_body_bytes)
            except BodyTooLarge as error:
                raise Rejected(problems.body_too_large(service.name, service.max_body_bytes)) from error
            except TimeoutError as error:
                raise Rejected(problems.body_too_slow(deadline.seconds)) from error
            if isinstance(body, HeldBody):
                length = body.length
        return Request(  # in the order of its fields: by name they take twice as long
            request_id,
            self._ids.child(known.trace),
            scope["method"],
            scope["atoll.target"],
            known.passed,
            known.lines,
            body,
            length,
            service,
            known.place,
            known.client,
            known.zones,
            deadline,
            known.forwarded,
            known.root,
            known.nested,
            known.again,
            known.explain,
            UPGRADE in scope["extensions"],
            known.criticality,
            known.key,
        )

    def _learn(self, headers: Headers, service: Service, connection: Connection) -> "_Known":
        """Reads the header fields of a request, and keeps what they say for the next one on the connection."""
        fields = dict(headers)
        trusted = connection.trusted
        peer = connection.peer[0] if connection.peer is not None else ""
        forwarded = trusted and b"atoll-hop" in fields
        client = self._client(peer, fields, trusted)
        note = fields.get(b"atoll-context")
        context = None if note is None else self._contexts.read(note)
        place = self._geo.locate(client) if context is None else context.place
        zones = self._allowed(service, place.country)
        length = fields.get(b"content-length")
        trace = parse_traceparent(fields[b"traceparent"]) if b"traceparent" in fields else None
        passed = end_to_end(headers, DROPPED_FROM_REQUESTS if trace is not None else DROPPED_WITHOUT_TRACE)
        known = _Known(
            headers=headers,
            service=service,
            table=self._table,
            trusted=trusted,
            passed=passed,
            lines=b"%bx-forwarded-for: %b\r\nx-forwarded-proto: http\r\n"
            % (write_lines(passed), client.encode()),
            trace=trace,
            client=client,
            place=place,
            zones=zones if context is None else zones & context.zones,
            timeout_s=_timeout(fields, service, forwarded),
            length=int(length) if length is not None else (None if b"transfer-encoding" in fields else 0),
            forwarded=forwarded,
            root=service.name if context is None else context.root,
            nested=context is not None and not forwarded,
            again=context is not None and context.again,
            explain=trusted and b"atoll-explain" in fields,
            criticality=_criticality(fields.get(b"atoll-criticality")),
            key=None if service.idempotency is Idempotency.OFF else fields.get(b"idempotency-key"),
        )
        connection.memo = known if note is None else None  # what a note says is true for a while only
        return known

    def locate(self, peer: str, headers: dict[bytes, bytes]) -> tuple[str, Place]:
        """Address and place of a client of the public listener."""
        client = self._client(peer, headers, trusted=False)
        return client, self._geo.locate(client)

    def _client(self, peer: str, fields: dict[bytes, bytes], trusted: bool) -> str:
        """The client's address: the nearest one in ``X-Forwarded-For`` that is no trusted proxy, if a proxy asks."""
        chain = fields.get(b"x-forwarded-for")
        if chain is None or not (trusted or self._table.is_trusted_proxy(peer)):
            return peer
        for part in reversed(chain.split(b",")):
            address = part.strip().decode("latin-1")
            if not self._table.is_trusted_proxy(address):
                return address if _plausible(address) else peer
        return peer

    def _allowed(self, service: Service, country: str | None) -> frozenset[str]:
        key = (service.name, country)
        zones = self._zones.get(key)
        if zones is None:
            zones = self._zones[key] = allowed_zones(self._table.topology, service, country)
        return zones


@dataclass(frozen=True, slots=True)
class _Known:
    """What follows from a request's header fields, its service and the topology, and from nothing else."""

    headers: Headers
    service: Service
    table: Table
    trusted: bool
    passed: Headers
    """The fields that go on."""
    lines: bytes
    """The same on the wire, and who asks."""
    trace: TraceContext | None
    client: str
    place: Place
    zones: frozenset[str]
    timeout_s: float
    length: int | None
    """Of the body, as announced; None if that is not known."""
    forwarded: bool
    root: str
    nested: bool
    again: bool
    explain: bool
    criticality: Criticality
    key: bytes | None

    def holds(self, headers: Headers, service: Service, table: Table, trusted: bool) -> bool:
        """Whether it is true of another request on the same connection."""
        return (
            service is self.service
            and table is self.table
            and trusted is self.trusted
            and headers == self.headers
        )


def _plausible(address: str) -> bool:
    """Whether a text could be an address at all, so that it may stand in headers and logs."""
    return 2 <= len(address) <= 45 and all(character in "0123456789abcdefABCDEF.:" for character in address)


def _criticality(value: bytes | None) -> Criticality:
    if value is None:
        return Criticality.DEFAULT
    criticality = CRITICALITIES.get(value)
    if criticality is None:
        raise Rejected(problems.bad_header("Atoll-Criticality", "use critical, default or sheddable"))
    return criticality


def _timeout(fields: dict[bytes, bytes], service: Service, forwarded: bool) -> float:
    try:
        if forwarded and (left := fields.get(b"atoll-deadline-ms")) is not None:
            return parse_deadline_ms(left, service.timeout_s)
        if (wanted := fields.get(b"atoll-timeout")) is not None:
            return parse_timeout(wanted, service.timeout_s)
    except ValueError as error:
        raise Rejected(problems.bad_header("Atoll-Timeout", str(error))) from error
    return service.timeout_s
