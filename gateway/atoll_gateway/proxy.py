"""Proxied requests, in plain ASGI: off the wire, through the stack, back onto the wire.

FastAPI never sees these; its routing and response classes cost more than all of this.
"""

import asyncio
from collections.abc import AsyncIterator
from math import ceil

from atoll.clock import Clock
from atoll.telemetry.logs import AccessLog
from atoll.telemetry.metrics import GatewayMetrics
from atoll.topology import Topology
from atoll_gateway import problems
from atoll_gateway.answering import send_answer, send_problem
from atoll_gateway.body import BodyTooLarge
from atoll_gateway.edge import Edge, Rejected
from atoll_gateway.http.connection import EXTENSION, Connection
from atoll_gateway.http.exchange import ClientGone, CutResponse, Receive, Scope, Send
from atoll_gateway.http.problem import CONTENT_TYPE, Problem
from atoll_gateway.http.upgrade import UPGRADE, Upgrade
from atoll_gateway.message import Failed, Headers, Layer, Request, Response, Switched
from atoll_gateway.timeouts import Timeouts
from atoll_gateway.tunnel import Tunnel
from atoll_gateway.upstream_errors import UpstreamError

CLIENT_CLOSED_REQUEST = 499
"""In logs and metrics only: nobody is there to be answered (nginx's convention)."""


class Proxy:
    """The ASGI application for everything outside ``/-/``."""

    def __init__(
        self, edge: Edge, stack: Layer, clock: Clock, metrics: GatewayMetrics, access_log: AccessLog
    ) -> None:
        self._edge = edge
        self._stack = stack
        self._clock = clock
        self._metrics = metrics
        self._log = access_log
        self._timeouts = Timeouts(clock)
        self._logs = True
        self._zone: str | None = None
        self._all_zones: frozenset[str] = frozenset()

    def use(self, topology: Topology, region: str | None) -> None:
        """Takes up a topology."""
        self._logs = topology.gateway.access_log
        self._zone = None if region is None else topology.regions[region].zone
        self._all_zones = frozenset(topology.zones)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = self._clock.monotonic
        started = now()
        connection: Connection = scope["extensions"][EXTENSION]
        request_id = self._edge.request_id(scope)
        try:
            service = self._edge.service(scope)
            request = await self._edge.admit(scope, receive, connection, service, request_id)
        except Rejected as rejected:
            self._metrics.problem(rejected.problem.type)
            await send_problem(send, rejected.problem, [(b"x-request-id", request_id.encode())], request_id)
            return
        except ClientGone:
            return
        recorder = self._metrics.service(service.name)
        recorder.started()
        status, region, sent = CLIENT_CLOSED_REQUEST, None, 0
        answered_s: float | None = None  # if that is not when the request was over
        try:
            response = await self._respond(request)
            region = response.region
            headers = response.headers
            headers += _answer_headers(request, region, now() - started)
            if isinstance(response.body, bytes):
                status, sent = response.status, len(response.body)
                await send_answer(send, status, headers, response.body)
            elif response.tunnel is not None:
                status, answered_s = response.status, now() - started
                sent = await self._tunnel(scope["extensions"][UPGRADE], response, response.tunnel, headers)
            else:
                status = response.status
                sent = await self._stream(send, response, response.body, headers, service.name)
        finally:
            duration = now() - started
            recorder.finished(region, status, duration if answered_s is None else answered_s)
            if request.ranking is not None and request.ranking.panic:
                recorder.panics += 1
            if self._logs:
                self._log.record(
                    request.id,
                    request.trace.trace_id,
                    request.client,
                    request.method,
                    scope["path"] if self._may_log_path(request) else None,
                    service.name,
                    region,
                    request.attempts_made,
                    status,
                    request.content_length or 0,
                    sent,
                    duration,
                )

    def _may_log_path(self, request: Request) -> bool:
        """A path names keys, which are logged inside the request's zones alone; an entry is in no zone."""
        return request.zones == self._all_zones if self._zone is None else self._zone in request.zones

    async def _respond(self, request: Request) -> Response:
        """The stack's answer, or the problem that stands for it."""
        if request.deadline.expired:
            return self._too_slow(request)
        watched = self._timeouts.watch(request.deadline.at)
        try:
            return await self._stack(request)
        except asyncio.CancelledError:
            if not watched.cut():
                raise
            return self._too_slow(request)
        except BodyTooLarge:
            problem = problems.body_too_large(request.service.name, request.service.max_body_bytes)
            self._metrics.problem(problem.type)
            return _problem_response(problem, request, None, refused=False)
        except Failed as failed:
            self._metrics.problem(failed.problem.type)
            return _problem_response(failed.problem, request, failed.retry_after_s, refused=failed.refused)
        finally:
            self._timeouts.release(watched)

    def _too_slow(self, request: Request) -> Response:
        stage = request.attempts[-1].region if request.attempts else "the first attempt"
        problem = problems.too_slow(stage, request.deadline.seconds)
        self._metrics.problem(problem.type)
        return _problem_response(problem, request, None, refused=False)

    async def _stream(
        self, send: Send, response: Response, body: AsyncIterator[bytes], headers: Headers, service: str
    ) -> int:
        """Passes a long answer through. What breaks now can only be cut off, so that the client can tell."""
        sent = 0
        try:
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            async for chunk in body:
                sent += len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except UpstreamError as error:
            self._metrics.service(service).truncated += 1
            raise CutResponse from error
        finally:
            if response.close is not None:
                response.close()
        return sent

    async def _tunnel(self, upgrade: Upgrade, response: Response, far: Switched, headers: Headers) -> int:
        """Joins the client's connection and the upstream's, until both have ended."""
        try:
            await upgrade.ready()
            far_end = far.switch()
            tunnel = Tunnel(upgrade.switch(headers), far_end, upgrade.idle_s)
            await tunnel.run()
        except UpstreamError as error:
            raise CutResponse from error
        finally:
            if response.close is not None:
                response.close()
        return tunnel.bytes_out


def _answer_headers(request: Request, region: str | None, seconds: float) -> Headers:
    timing = f"gateway;dur={seconds * 1000.0:.1f}"
    for attempt in request.attempts:
        timing += f', attempt;desc="{attempt.region} {attempt.outcome}";dur={attempt.milliseconds:.1f}'
    headers = [
        (b"x-request-id", request.id.encode()),
        (b"atoll-attempts", b"%d" % request.attempts_made),
        (b"server-timing", timing.encode()),
    ]
    if region is not None:
        headers.append((b"atoll-region", region.encode()))
    if request.explain and request.ranking is not None:
        headers.append((b"atoll-decision", _decision(request).encode()))
    return headers


def _decision(request: Request) -> str:
    """Every region that was considered, as one header: ``region;score;share;reason``, best first."""
    assert request.ranking is not None
    return ", ".join(
        f"{candidate.region};eligible={'?1' if candidate.eligible else '?0'};score={candidate.score:.1f}"
        f';share={candidate.share or 0.0:.3f};reason="{candidate.reason}"'
        for candidate in request.ranking.candidates
    )


def _problem_response(
    problem: Problem, request: Request, retry_after_s: float | None, *, refused: bool
) -> Response:
    body = problem.body(request.id)
    headers = [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(body))]
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % ceil(retry_after_s)))
    if refused and request.forwarded:
        headers.append((b"atoll-refused", problem.type.encode()))
    return Response(problem.status, headers, body, None)
