"""``Idempotency-Key``: a request that carries one is executed at most once, and its first answer is given again.

Before anything is sent the key is claimed at its home (`atoll_gateway.keys`). Whoever gets it sends the request;
everybody else is told what became of the first: 409 while it is under way, 422 if it was another request, its answer,
or 502 if its outcome is unknown. The README of the gateway has the table of what is promised when.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable
from itertools import count

from atoll.resilience.idempotency import (
    Answer,
    Claim,
    Settlement,
    Standing,
    fingerprint,
    parse_key,
    read_answer,
    record_name,
    write_answer,
)
from atoll.resilience.replay import IDEMPOTENT_METHODS
from atoll.telemetry.metrics import GatewayMetrics
from atoll.topology import Idempotency, Topology, Transit
from atoll_gateway import problems
from atoll_gateway.answer import HELD_BYTES
from atoll_gateway.body import REPLAY_BYTES, HeldBody
from atoll_gateway.headers import first
from atoll_gateway.keys.contract import Keys, KeysUnavailable
from atoll_gateway.keys.homes import KeyHomes
from atoll_gateway.keys.settling import Settling
from atoll_gateway.message import Failed, Headers, Layer, Request, Response
from atoll_gateway.upstream_errors import UpstreamError

LEASE_MARGIN_MS = 1000
"""A lease is what is left of the request's deadline and this: time to write down what came of it."""

REPLAYED = (b"idempotency-replayed", b"true")
NOT_KEPT = (b"idempotency-kept", b"false")
"""The answer is true, but it could not be written down in time: a retry may be told that the outcome is unknown."""

_EVENTS = b"text/event-stream"


class IdempotencyLayer:
    """Keeps the promise of ``Idempotency-Key`` for services that leave it to the gateway.

    The first hop claims; a forwarded request has been claimed. Idempotent methods need no key.
    """

    def __init__(
        self,
        name: str,
        region: str | None,
        homes: KeyHomes,
        settling: Settling,
        metrics: GatewayMetrics,
        following: Layer,
    ) -> None:
        """`name` is the gateway's."""
        self._process = f"{name}/{secrets.token_hex(8)}"
        self._numbers = count(1)
        self._region = region
        self._homes = homes
        self._settling = settling
        self._metrics = metrics
        self._next = following
        self._zone: str | None = None

    def use(self, topology: Topology) -> None:
        """Takes up a topology."""
        self._zone = None if self._region is None else topology.regions[self._region].zone
        self._homes.use(topology)

    def __call__(self, request: Request) -> Awaitable[Response]:
        return self._next(request) if request.key is None else self._keyed(request, request.key)

    async def _keyed(self, request: Request, value: bytes) -> Response:
        if request.forwarded or request.method in IDEMPOTENT_METHODS:
            return await self._next(request)
        key = _key(request, value)
        service = request.service
        if service.idempotency is not Idempotency.GATEWAY:
            return await self._next(request)
        home = self._homes.home(request)
        passes = self._zone is None or self._zone in request.zones or service.transit is Transit.FORWARD
        if home is None or not passes:
            return await self._next(request)  # which refuses it, and says why
        claim = self._claim(request, key)
        return await self._settling.shielded(self._once(request, home, claim))

    def _claim(self, request: Request, key: bytes) -> Claim:
        body = request.body
        service = request.service
        if not isinstance(body, HeldBody):
            raise Failed(problems.key_body_too_large(service.name, REPLAY_BYTES), sent=False, elsewhere=False)
        headers = request.headers
        return Claim(
            service.name,
            record_name(service.name, first(headers, b"authorization"), key),
            fingerprint(request.method, request.target, first(headers, b"content-type"), body.open()),
            f"{self._process}/{next(self._numbers)}",
            request.deadline.remaining_ms + LEASE_MARGIN_MS,
            int(service.idempotency_ttl_s * 1000),
        )

    async def _once(self, request: Request, home: str, claim: Claim) -> Response:
        try:
            keys = self._homes.keys(home)
        except KeysUnavailable as error:
            raise self._unavailable(request, home, error) from error
        try:
            claimed = await keys.claim(claim)
        except KeysUnavailable as error:
            if error.sent:
                self._settling.withdraw(keys, claim)
            raise self._unavailable(request, home, error) from error
        self._metrics.keyed(claim.service, claimed.standing.value)
        match claimed.standing:
            case Standing.CLAIMED:
                return await self._execute(request, keys, claim)
            case Standing.COMPLETE:
                return _replayed(claimed.answer)
            case Standing.IN_FLIGHT:
                raise Failed(problems.KEY_IN_FLIGHT, sent=False, elsewhere=False, retry_after_s=1)
            case Standing.REUSED:
                raise Failed(problems.KEY_REUSED, sent=False, elsewhere=False)
            case Standing.UNKNOWN:
                raise Failed(problems.KEY_OUTCOME_UNKNOWN, sent=False, elsewhere=False)

    def _unavailable(self, request: Request, home: str, error: KeysUnavailable) -> Failed:
        self._metrics.keyed(request.service.name, "unavailable")
        problem = problems.key_store_unavailable(home, str(error))
        return Failed(problem, sent=False, elsewhere=False, retry_after_s=1)

    async def _execute(self, request: Request, keys: Keys, claim: Claim) -> Response:
        """Sends the request and writes down what came of it, before anybody is told.

        Whatever else ends this, a crash of the gateway included, leaves the record to its lease: unknown.
        """
        deadline = request.deadline
        if deadline.expired:  # nothing has been sent
            await self._settling.settle(keys, claim, Settlement.RELEASE)
            raise Failed(problems.too_slow("the claim of its key", deadline.seconds), sent=False)
        try:
            async with asyncio.timeout(deadline.remaining_s):
                response = await _held(await self._next(request))
        except Failed as failed:
            executed = failed.sent and not failed.refused
            settlement = Settlement.UNKNOWN if executed else Settlement.RELEASE
            await self._settling.settle(keys, claim, settlement)
            raise
        except TimeoutError as error:
            await self._settling.settle(keys, claim, Settlement.UNKNOWN)
            stage = request.attempts[-1].region if request.attempts else "the first attempt"
            raise Failed(problems.too_slow(stage, deadline.seconds), sent=True) from error
        if response.region is None:  # a gateway's word on the way, not a replica's
            await self._settling.settle(keys, claim, Settlement.UNKNOWN)
            return response
        body = response.body if isinstance(response.body, bytes) else None
        answer = write_answer(Answer(response.status, response.headers, response.region, body))
        if not await self._settling.settle(keys, claim, Settlement.COMPLETE, answer):
            self._metrics.keyed(claim.service, "not-kept")
            response.headers.append(NOT_KEPT)
        return response


def _key(request: Request, value: bytes) -> bytes:
    """The key, or a 400."""
    if sum(name == b"idempotency-key" for name, _ in request.headers) > 1:
        raise _malformed("may be given once")
    try:
        return parse_key(value)
    except ValueError as error:
        raise _malformed(str(error)) from error


def _malformed(reason: str) -> Failed:
    return Failed(problems.bad_header("Idempotency-Key", reason), sent=False, elsewhere=False)


def _replayed(content: bytes) -> Response:
    """The first answer again. Raises `Failed` if it was too long to be kept."""
    try:
        answer = read_answer(content)
    except ValueError as error:  # written by a later version; it has been executed all the same
        raise Failed(problems.answer_not_kept(None), sent=False, elsewhere=False) from error
    if answer.body is None:
        raise Failed(problems.answer_not_kept(answer.status), sent=False, elsewhere=False)
    return Response(answer.status, [*answer.headers, REPLAYED], answer.body, answer.region)


async def _held(response: Response) -> Response:
    """An answer of unknown length is held as far as one of known length is, so that it can be kept.

    What is longer goes through as it comes, and so does a stream of events, which is read while it is made.
    """
    body = response.body
    if isinstance(body, bytes) or response.region is None or _too_long(response.headers):
        return response
    start: list[bytes] = []
    size = 0
    try:
        async for chunk in body:
            start.append(chunk)
            size += len(chunk)
            if size > HELD_BYTES:
                return Response(
                    response.status, response.headers, _joined(start, body), response.region, response.close
                )
    except UpstreamError as error:
        raise Failed(problems.outcome_unknown(response.region, str(error)), sent=True) from error
    headers = response.headers
    if response.status != 204:
        headers = [*headers, (b"content-length", b"%d" % size)]
    return Response(response.status, headers, b"".join(start), response.region)


def _too_long(headers: Headers) -> bool:
    if first(headers, b"content-length") is not None:
        return True
    kind = first(headers, b"content-type")
    return kind is not None and kind.lower().startswith(_EVENTS)


async def _joined(start: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in start:
        yield chunk
    async for chunk in rest:
        yield chunk
