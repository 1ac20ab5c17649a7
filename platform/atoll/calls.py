"""Calls from one service to another, through a gateway of the own region.

A chain of services shares one deadline, one trace, one criticality and one retry budget: what the first request brought
is kept by `AtollMiddleware` while a replica works on it, and every `call` made meanwhile takes it along.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import httpx

from atoll.clock import Clock
from atoll.resilience.deadline import Deadline

GATEWAYS_VARIABLE = "ATOLL_GATEWAYS"
"""Public addresses of the region's gateways, separated by commas; the cell sets it for its Ray cluster."""

SESSION = b"atoll-session"
CARRIED = (b"atoll-context", b"atoll-criticality", SESSION, b"traceparent", b"tracestate")
"""Headers of a request that calls made for it take along. ``Atoll-Context`` is the gateway's own note, signed by it:
zones and place of the first request, and whose budget pays for attempts."""

NO_RETRY = b"atoll-no-retry"
"""On an answer: what failed was retried further down already, so no gateway above does it again."""

ASK_ELSEWHERE = b'{"type": "urn:atoll:problem:ask-elsewhere"'
"""How an answer begins by which a replica says: nothing was executed, and another region may do better."""

MARGIN_S = 0.005
"""What is kept of the deadline for telling of its end; with less than this left no call is begun."""


class CallFailed(Exception):
    """A call to another service brought no answer; the text says why. An answer with an error status is an answer."""


class NoRequest(RuntimeError):
    """`call` was used where no request is being served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to another service."""

    service: str
    path: str = ""
    method: str = "GET"
    params: Mapping[str, str | int | float | bool] | None = None
    json: object = None
    content: bytes | None = None
    headers: Mapping[str, str] | None = None
    timeout_s: float | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What the request that is being served has brought along."""

    request_id: str | None
    deadline: Deadline | None
    """Until when the client waits; None if nobody said."""
    carried: tuple[tuple[bytes, bytes], ...]
    caller: "Caller"
    session: "SessionCarrier | None" = None
    """The client's session, where the process has access to the state; else the header goes on as it came."""


class SessionCarrier(Protocol):
    """The session of the client on whose behalf calls are made."""

    async def token(self) -> str | None:
        """As it is now; None while it is empty."""
        ...

    def came(self, token: str) -> None:
        """What a call's answer brought."""
        ...


CURRENT: ContextVar[RequestContext | None] = ContextVar("atoll_request", default=None)
"""Set by the middleware."""


def current() -> RequestContext | None:
    """The request that is being served, inside `AtollMiddleware`; None elsewhere."""
    return CURRENT.get()


async def call(
    service: str,
    path: str = "",
    *,
    method: str = "GET",
    params: Mapping[str, str | int | float | bool] | None = None,
    json: object = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    idempotency_key: str | None = None,
) -> httpx.Response:
    """Calls a service by name, for the request that is being served.

    `path` is what follows the service's route prefix, such as ``/search``. The answer comes whole, whatever its
    status; the gateway has already retried what may be retried. `timeout_s` can only shorten what is left of the
    request's deadline. Use it in an application that has `AtollMiddleware`.

    Raises `CallFailed` if there is no answer: no gateway could be reached, the connection was lost, the deadline
    passed. Left uncaught it becomes a 503 that no gateway retries, since the call already was. Raises `NoRequest`
    outside a request.
    """
    context = CURRENT.get()
    if context is None:
        raise NoRequest(
            "atoll.sdk.call works while a request is served by an application with AtollMiddleware: "
            "app.add_middleware(AtollMiddleware)"
        )
    wanted = Call(
        service=service,
        path=path,
        method=method,
        params=params,
        json=json,
        content=content,
        headers=headers,
        timeout_s=timeout_s,
        idempotency_key=idempotency_key,
    )
    return await context.caller.send(context, wanted)


class Caller:
    """Connections to the region's gateways, taken in turn. One a process."""

    def __init__(
        self,
        gateways: Sequence[str],
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._gateways = tuple(gateways)
        self._turns: Iterator[int] = itertools.count()
        self._clock = clock
        self._http = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            timeout=None,  # noqa: S113 - each call has its own
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=30.0),
        )

    @property
    def clock(self) -> Clock:
        return self._clock

    async def send(self, context: RequestContext, wanted: Call) -> httpx.Response:
        """As `call`, for a given request."""
        service = wanted.service
        if not self._gateways:
            raise CallFailed(
                f"no gateway to call {service} through: {GATEWAYS_VARIABLE} is not set; a cell sets it"
            )
        timeout_s = _shortest(
            wanted.timeout_s, context.deadline.remaining_s if context.deadline is not None else None
        )
        if timeout_s is not None and timeout_s < MARGIN_S:
            raise CallFailed(f"no time is left to call {service}: the request's deadline has passed")
        headers = _headers(context, wanted, timeout_s)
        if context.session is not None and (token := await context.session.token()) is not None:
            headers = [*(field for field in headers if field[0] != SESSION), (SESSION, token.encode())]
        first = next(self._turns)
        refused: httpx.ConnectError | None = None
        for turn in range(len(self._gateways)):
            gateway = self._gateways[(first + turn) % len(self._gateways)]
            try:
                answer = await self._http.request(
                    wanted.method,
                    f"{gateway}/-/call/{service}{wanted.path}",
                    params=wanted.params,
                    json=wanted.json,
                    content=wanted.content,
                    headers=headers,
                    timeout=httpx.Timeout(timeout_s),
                )
            except httpx.ConnectError as error:
                refused = error  # nothing was sent, so another gateway may be asked
                continue
            except httpx.TimeoutException as error:
                raise CallFailed(f"{service} did not answer within {timeout_s:g} s") from error
            except httpx.TransportError as error:
                raise CallFailed(f"the answer of {service} was lost: {error}") from error
            _take_session(context, answer)
            return answer
        raise CallFailed(f"no gateway of this region takes calls to {service}: {refused}") from refused

    async def close(self) -> None:
        await self._http.aclose()


def gateways(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Addresses of the region's gateways, from `ATOLL_GATEWAYS`; none outside a cell."""
    return tuple(filter(None, environment.get(GATEWAYS_VARIABLE, "").split(",")))


def _take_session(context: RequestContext, answer: httpx.Response) -> None:
    if context.session is not None and (token := answer.headers.get(SESSION.decode())) is not None:
        context.session.came(token)


def _shortest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _headers(context: RequestContext, wanted: Call, timeout_s: float | None) -> list[tuple[bytes, bytes]]:
    headers = list(context.carried)
    if context.request_id is not None:
        headers.append((b"x-request-id", context.request_id.encode("latin-1")))
    if timeout_s is not None:
        headers.append((b"atoll-timeout", b"%dms" % max(1, int(timeout_s * 1000))))
    if wanted.idempotency_key is not None:
        headers.append((b"idempotency-key", f'"{wanted.idempotency_key}"'.encode()))
    headers += [(name.lower().encode(), value.encode()) for name, value in (wanted.headers or {}).items()]
    return headers
