"""ASGI middleware of a service: what a request brought along is there for the calls and the state that it uses."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from random import Random
from typing import Any

from atoll import cache
from atoll.calls import (
    CARRIED,
    CURRENT,
    NO_RETRY,
    SESSION,
    Caller,
    CallFailed,
    RequestContext,
    SessionCarrier,
    gateways,
)
from atoll.clock import SystemClock
from atoll.resilience.deadline import Deadline
from atoll.state.errors import StateError, StoreFull, StoreRefused, StoreUnavailable
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.regional import NotRemote, RegionBehind
from atoll.state.sdk.scope import Scope as StateScope
from atoll.state.sdk.scope import entered
from atoll.state.session import HEADER
from atoll.state.wiring import state_wiring_file

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

STALE = b"atoll-stale"
"""On an answer: something in it may be older than the client's session or the namespace's bound allows."""


class AtollMiddleware:
    """Keeps what a request brought along for the calls and the state operations that are made for it.

    >>> app.add_middleware(AtollMiddleware)

    The client's session comes as header or cookie, and goes back as both once it has grown; what is read or written
    after an answer has begun is not in it. Errors of calls and of the state that the application leaves uncaught
    become problem documents (RFC 9457).
    """

    def __init__(
        self, app: Application, caller: Caller | None = None, state: StateAccess | None = None
    ) -> None:
        """`caller` and `state` are for tests; a replica makes its own from what its cell has put in its environment."""
        self._app = app
        self._caller = caller
        self._state = state
        self._wiring: Path | None = None if state is not None else state_wiring_file()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        if self._caller is None:  # in the replica's own loop, not where the application was built
            self._caller = Caller(gateways(), SystemClock())
        if self._state is None and self._wiring is not None:
            self._state = StateAccess.open(self._wiring, SystemClock(), Random())
            cache.opened(
                self._state
            )  # so that writes are dropped from the region's cache, also by who reads none
        fields: dict[bytes, bytes] = dict(scope["headers"])
        deadline = _deadline(fields, self._caller)
        if self._state is None:
            answer = _Answer(send, None, None)
            await self._serve(scope, receive, answer, _context(fields, deadline, self._caller, None))
            return
        own = self._state.scope(_session(fields), deadline)
        answer = _Answer(send, self._state, own)
        with entered(own):
            context = _context(fields, deadline, self._caller, _Carrier(self._state, own))
            await self._serve(scope, receive, answer, context)

    async def _serve(
        self, scope: Scope, receive: Receive, answer: "_Answer", context: RequestContext
    ) -> None:
        token = CURRENT.set(context)
        try:
            await self._app(scope, receive, answer.send)
        except (CallFailed, StateError) as error:
            if answer.started or scope["type"] != "http":
                raise
            await answer.tell(error)
        finally:
            CURRENT.reset(token)


class _Answer:
    """Passes an answer on, with the client's session."""

    def __init__(self, send: Send, state: StateAccess | None, own: StateScope | None) -> None:
        self._send = send
        self._state = state
        self._own = own
        self.started = False

    async def send(self, message: Message) -> None:
        if not self.started:
            self.started = True
            if self._state is not None and self._own is not None:
                message = await self._with_session(message, self._state, self._own)
        await self._send(message)

    async def tell(self, error: CallFailed | StateError) -> None:
        """Answers with a problem document instead."""
        kind, title = _named(error)
        if (
            isinstance(error, RegionBehind)
            and error.elsewhere
            and not (self._own is not None and self._own.wrote)
        ):
            kind = "ask-elsewhere"
        problem = {"type": f"urn:atoll:problem:{kind}", "title": title, "status": 503, "detail": str(error)}
        body = json.dumps(problem).encode()
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
        headers.append((NO_RETRY, b"1") if isinstance(error, CallFailed) else (b"retry-after", b"1"))
        await self.send({"type": "http.response.start", "status": 503, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def _with_session(self, message: Message, state: StateAccess, own: StateScope) -> Message:
        extra: list[tuple[bytes, bytes]] = []
        if own.stale:
            extra.append((STALE, b"?1"))
        if own.session.grown and message["type"] in {"http.response.start", "websocket.accept"}:
            token = (await state.token(own.session)).encode()
            extra.append((SESSION, token))
            extra.append((b"set-cookie", b"%b=%b; Path=/; HttpOnly; SameSite=Lax" % (HEADER.encode(), token)))
        return {**message, "headers": [*message.get("headers", ()), *extra]} if extra else message


class _Carrier:
    """Takes the client's session along with calls, and what comes back with their answers."""

    def __init__(self, state: StateAccess, own: StateScope) -> None:
        self._state = state
        self._own = own

    async def token(self) -> str | None:
        session = self._own.session
        return await self._state.token(session) if session.needs() else None

    def came(self, token: str) -> None:
        self._state.join(self._own.session, token)


def _context(
    fields: Mapping[bytes, bytes], deadline: Deadline | None, caller: Caller, session: SessionCarrier | None
) -> RequestContext:
    request_id = fields.get(b"x-request-id")
    return RequestContext(
        request_id=None if request_id is None else request_id.decode("latin-1"),
        deadline=deadline,
        carried=tuple((name, fields[name]) for name in CARRIED if name in fields),
        caller=caller,
        session=session,
    )


def _session(fields: Mapping[bytes, bytes]) -> str | None:
    """The token in the header, else in the cookie."""
    if (header := fields.get(SESSION)) is not None:
        return header.decode("latin-1")
    cookies = fields.get(b"cookie")
    if cookies is None or HEADER.encode() not in cookies:
        return None
    try:
        found = SimpleCookie(cookies.decode("latin-1")).get(HEADER)
    except CookieError:
        return None
    return None if found is None else found.value


def _deadline(fields: Mapping[bytes, bytes], caller: Caller) -> Deadline | None:
    seconds = _seconds_left(fields)
    return None if seconds is None else Deadline(caller.clock, seconds)


def _seconds_left(fields: Mapping[bytes, bytes]) -> float | None:
    """What the gateway says is left: to Serve in seconds, to origins in milliseconds."""
    try:
        if (seconds := fields.get(b"x-request-timeout-seconds")) is not None:
            return max(0.0, float(seconds))
        if (milliseconds := fields.get(b"atoll-deadline-ms")) is not None:
            return max(0.0, int(milliseconds) / 1000)
    except ValueError:
        return None
    return None


def _named(error: CallFailed | StateError) -> tuple[str, str]:
    """Kind and title of an error's problem document."""
    match error:
        case CallFailed():
            return "call-failed", "A service that this one needs gave no answer"
        case RegionBehind():
            return "region-behind", "This region has not caught up yet"
        case NotRemote():
            return "not-remote", "A write is not confirmed by another region"
        case StoreUnavailable() | StoreRefused() | StoreFull():
            return "state-unavailable", "The state can't be used"
        case _:
            return "state", "The state refuses"
