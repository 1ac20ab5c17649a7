"""One ASGI application a listener: who may talk to it, and which application gets which path."""

import logging
from collections.abc import Awaitable

from atoll.tls import Serving, Stranger
from atoll_gateway import problems
from atoll_gateway.answering import send_problem
from atoll_gateway.headers import first
from atoll_gateway.http.connection import EXTENSION, Connection
from atoll_gateway.http.exchange import Application, Receive, Scope, Send
from atoll_gateway.keys.wire import PATH as KEYS
from atoll_gateway.secret import Token
from atoll_gateway.table import CALL

PEER = b"atoll-peer"
"""Header of a hello: the gateway's name."""

log = logging.getLogger("atoll.gateway.peers")


class Public:
    """For clients: ``/-/`` is the control surface, everything else is proxied, calls between services included."""

    def __init__(self, control: Application, proxy: Application) -> None:
        self._control = control
        self._proxy = proxy

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """No coroutine of its own: it would be one more frame in the way of every request."""
        path = scope["raw_path"]
        application = self._control if path.startswith(b"/-/") and not path.startswith(CALL) else self._proxy
        return application(scope, receive, send)


class Peer:
    """For other gateways: a connection counts once its first request has shown the token.

    What the far side says of a request (hops, place, zones, deadline) is believed on such a connection alone. With TLS
    its certificate has to speak for the region that it says hello from, besides.
    """

    def __init__(
        self,
        token: Token,
        tls: Serving | None,
        hello: Application,
        health: Application,
        keys: Application,
        proxy: Application,
    ) -> None:
        self._token = token
        self._tls = tls
        self._hello = hello
        self._health = health
        self._keys = keys
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection = scope["extensions"][EXTENSION]
        path = scope["raw_path"]
        if not connection.trusted:
            if path != b"/-/peer/hello" or not self._token.admits(first(scope["headers"], b"authorization")):
                await send_problem(send, problems.NOT_A_PEER)
                return
            try:
                self._check(connection, first(scope["headers"], PEER) or b"")
            except Stranger as stranger:
                log.warning("a peer is refused", extra={"peer": connection.peer, "reason": str(stranger)})
                await send_problem(send, problems.stranger(str(stranger)))
                return
            connection.trusted = True
        if path == b"/-/peer/hello":
            await self._hello(scope, receive, send)
        elif path == b"/-/peer/health":
            await self._health(scope, receive, send)
        elif path.startswith(KEYS):
            await self._keys(scope, receive, send)
        else:
            await self._proxy(scope, receive, send)

    def _check(self, connection: Connection, name: bytes) -> None:
        """Whether the certificate speaks for the name. Raises `Stranger`."""
        if self._tls is not None:
            self._tls.check(connection.certificate, name.decode("latin-1"))


class Admin:
    """For operators: every request shows the admin token."""

    def __init__(self, token: Token, control: Application) -> None:
        self._token = token
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._token.admits(first(scope["headers"], b"authorization")):
            await send_problem(
                send, problems.NOT_AN_OPERATOR, [(b"www-authenticate", b'Basic realm="atoll admin"')]
            )
            return
        await self._control(scope, receive, send)
