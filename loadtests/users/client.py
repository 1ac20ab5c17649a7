"""The users' HTTP client: HTTP/1.1 over one kept connection, as little work as can be, and a word for each failure.

Load generators count their own time as the server's when they are busy, so what this costs matters. It blocks; locust
makes sockets cooperative.
"""

import json
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools

_CHUNK = 65536


class NoAnswer(Exception):
    """There was no whole answer. `word`: ``refused``, ``reset``, ``timeout``, ``cut`` (the body ended early) or
    ``malformed``.
    """

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


@dataclass(slots=True)
class Response:
    """An answer. Names of headers are in lower case; of several with one name the last counts, but for cookies."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    cookies: list[bytes] = field(default_factory=list)
    """Values of ``Set-Cookie``."""
    body: bytes = b""

    def json(self) -> Any:
        """The body's meaning; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a gateway."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of a URL. Raises `ValueError`, which says what would be right."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError(f"{url!r} is no address such as http://127.0.0.1:8080")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls)

    @property
    def authority(self) -> str:
        """For the header ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Connection:
    """A connection to one origin, opened when it is needed and kept as long as both sides want it."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._socket: socket.socket | None = None

    @property
    def open(self) -> bool:
        """Whether a request can be sent at once: the connection is there, and the other side has not ended it."""
        if self._socket is None:
            return False
        try:
            self._socket.setblocking(False)  # noqa: FBT003
            ended = not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            ended = True
        if ended:
            self.close()
        return not ended

    def ask(self, request: bytes, within_s: float) -> Response:
        """Sends a request and returns the whole answer. Raises `NoAnswer`; the connection is closed then."""
        end_s = time.monotonic() + within_s
        reading = _Reading()
        try:
            if self._socket is None:
                self._socket = self._connect(within_s)
            self._socket.settimeout(_left(end_s))
            self._socket.sendall(request)
            while not reading.complete:
                self._socket.settimeout(_left(end_s))
                data = self._socket.recv(_CHUNK)
                if not data:
                    reading.ended()
                else:
                    reading.feed(data)
        except TimeoutError:
            self.close()
            raise NoAnswer("timeout") from None
        except ConnectionRefusedError:
            self.close()
            raise NoAnswer("refused") from None
        except OSError:
            self.close()
            raise NoAnswer("cut" if reading.begun else "reset") from None
        except httptools.HttpParserError:
            self.close()
            raise NoAnswer("malformed") from None
        except BaseException:
            self.close()
            raise
        if not reading.keep:
            self.close()
        return reading.response

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self, within_s: float) -> socket.socket:
        made = socket.create_connection((self.origin.host, self.origin.port), timeout=within_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.origin.tls:
            return made
        return ssl.create_default_context().wrap_socket(made, server_hostname=self.origin.host)


def _left(end_s: float) -> float:
    left = end_s - time.monotonic()
    if left <= 0.0:
        raise TimeoutError
    return left


class _Reading:
    """An answer as it comes in."""

    def __init__(self) -> None:
        self.response = Response()
        self.begun = self.complete = self.keep = False
        self._framed = False
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def ended(self) -> None:
        """The other side has sent all that it wanted to. An answer of unknown length is whole then."""
        if not self.begun or self._framed:
            raise ConnectionResetError
        self.on_message_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"set-cookie":
            self.response.cookies.append(value)
        else:
            self.response.headers[name] = value
            self._framed = self._framed or name in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        self.begun = True
        self.response.status = self._parser.get_status_code()
        self.keep = self._framed and self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.complete = True
        self.response.body = b"".join(self._body)
