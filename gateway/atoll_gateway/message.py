"""What travels through the stack: a request, a response, and the one-method contract of a layer.

Layers compose like Finagle's filters ("Your Server as a Function", Eriksen 2013): each holds the next one, takes a
request and returns a response, or raises `Failed`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from atoll.geo.place import Place
from atoll.resilience.attempts import Failure
from atoll.resilience.criticality import Criticality
from atoll.resilience.deadline import Deadline
from atoll.resilience.replay import IDEMPOTENT_METHODS
from atoll.routing.rank import Ranking
from atoll.telemetry.trace import TraceContext
from atoll.topology import Idempotency, Service
from atoll_gateway.http.problem import Problem
from atoll_gateway.tunnel import End

Headers = list[tuple[bytes, bytes]]


class RequestBody(Protocol):
    """A request's body. `replayable` says whether `open` may be called once more."""

    @property
    def replayable(self) -> bool: ...

    def open(self) -> bytes | AsyncIterator[bytes]: ...


@dataclass(slots=True)
class Attempt:
    """One request head sent, or the try to send one; kept for `Server-Timing`, logs and explanations."""

    region: str
    milliseconds: float
    outcome: int | str
    """The answer's status, or the type of the problem that there was instead."""


@dataclass(slots=True)
class Request:
    """A request that the edge has checked. Only the edge writes it; the layers below add what they decide."""

    id: str
    trace: TraceContext
    """The span that this gateway is, a child of the client's if it sent one."""
    method: str
    target: bytes
    """Path and query as the client wrote them."""
    headers: Headers
    """End-to-end headers only: hop-by-hop, forwarding and control headers have been taken out. The requests of a
    connection that repeat them share them, so they are never changed in place."""
    lines: bytes
    """The same as they stand on the wire, with ``X-Forwarded-For`` and ``X-Forwarded-Proto``."""
    body: RequestBody
    content_length: int | None
    """Length of the body if it is known, 0 for none; None is a body of unknown length (chunked)."""
    service: Service
    place: Place
    client: str
    """Address of the client, from the connection or from a trusted proxy."""
    zones: frozenset[str]
    """Where this request may be executed."""
    deadline: Deadline
    forwarded: bool
    """Whether another gateway owns this request's attempts; it is then served from the own region or not at all."""
    root: str
    """The service that the client asked for: its budget pays. Another than `service` if a service calls another."""
    nested: bool = False
    """Whether a service sent it, in the course of another request."""
    again: bool = False
    """Whether that other request is itself a further attempt; then this one is not retried: retries don't multiply."""
    explain: bool = False
    upgrade: bool = False
    """Whether it asks to speak WebSocket from here on; such a request is neither hedged nor sent twice."""
    criticality: Criticality = Criticality.DEFAULT
    key: bytes | None = None
    """The ``Idempotency-Key``, unless its service switched keys off."""
    ranking: Ranking | None = None
    attempts_made: int = 0
    """Request heads sent so far, over all hops."""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def replay_safe(self) -> bool:
        """Whether doing it twice is the same as doing it once: by its method, or by its key."""
        return (self.method in IDEMPOTENT_METHODS and not self.upgrade) or self.keyed

    @property
    def keyed(self) -> bool:
        """Whether its service commits the request's key together with its effect."""
        return self.key is not None and self.service.idempotency is Idempotency.SERVICE


class Switched(Protocol):
    """An upstream that has answered 101."""

    def switch(self) -> End:
        """Hands its connection over to a tunnel; `Response.close` still ends it."""


@dataclass(slots=True)
class Response:
    """An answer. `region` is the one that produced it."""

    status: int
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    region: str | None
    close: Callable[[], None] | None = None
    """Gives up a body that is not read to its end, or a tunnel."""
    tunnel: Switched | None = None
    """Set if a request for WebSocket was granted; there is no body then, and the request lasts until `close`."""


class Failed(Failure):
    """No response could be had; `problem` is what the client is told if nothing better comes.

    `isolated`: one replica's doing while the others of its region do well, so it does not speak against the region.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        sent: bool,
        refused: bool = False,
        elsewhere: bool = True,
        retry_after_s: float | None = None,
        isolated: bool = False,
    ) -> None:
        super().__init__(
            problem.detail, sent=sent, refused=refused, elsewhere=elsewhere, retry_after_s=retry_after_s
        )
        self.problem = problem
        self.isolated = isolated


Layer = Callable[[Request], Awaitable[Response]]
