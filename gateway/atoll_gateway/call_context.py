"""``Atoll-Context``: what a gateway notes on a request for those who work on it: gateways further on, and replicas.

From a replica the note comes back with each call that its service makes, to the public listener. It is signed, so a
service can neither leave its client's zones nor spend another's budget; it says nothing that the service does not know.
"""

import hashlib
import hmac
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.geo.place import Place
from atoll_gateway.message import Request
from atoll_gateway.place_text import read_place, write_place

LIFETIME_S = 600
"""How long a note is believed at least; longer than any request takes."""
KEPT = 4096
"""Notes that are kept ready: they differ by service, zones and place alone."""
_VERSION = b"1"


@dataclass(frozen=True, slots=True)
class CallContext:
    """What of a client's request holds for all calls made on its behalf."""

    root: str
    """The service that the client asked for: its budget pays for every attempt."""
    zones: frozenset[str]
    place: Place
    again: bool
    """The attempt was not the request's first, so calls on its behalf are not retried: retries don't multiply."""


class CallContexts:
    """Writes and reads notes. The same one is written for many requests, so both ways are kept."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        """`key` is known to the deployment's gateways alone."""
        self._key = key
        self._clock = clock
        self._written: dict[tuple[str, frozenset[str], Place, bool], bytes] = {}
        self._read: dict[bytes, CallContext] = {}
        self._fresh_until = 0.0

    def of(self, request: Request) -> bytes:
        """The note for the attempt that is about to be made."""
        again = request.again or request.attempts_made > 0
        key = (request.root, request.zones, request.place, again)
        note = self._written.get(key)
        if note is None or self._clock.monotonic() >= self._fresh_until:
            self._expire()
            note = self._written[key] = self.write(CallContext(*key))
        return note

    def read(self, note: bytes) -> CallContext | None:
        """What a note says; None if it is not one of this deployment's gateways', or too old."""
        self._expire()
        context = self._read.get(note)
        if context is None:
            context = self._check(note)
            if context is not None:
                self._read[note] = context
        return context

    def _expire(self) -> None:
        now = self._clock.monotonic()
        if now >= self._fresh_until or len(self._written) > KEPT or len(self._read) > KEPT:
            self._written.clear()
            self._read.clear()
            self._fresh_until = now + LIFETIME_S / 10

    def write(self, context: CallContext) -> bytes:
        """A note, signed."""
        until = b"%d" % (self._clock.wall() + LIFETIME_S)
        content = b"|".join(
            (
                _VERSION,
                until,
                context.root.encode(),
                ",".join(sorted(context.zones)).encode(),
                write_place(context.place),
                b"again" if context.again else b"first",
            )
        )
        return content + b"|" + self._sign(content)

    def _check(self, note: bytes) -> CallContext | None:
        content, _, shown = note.rpartition(b"|")
        if not hmac.compare_digest(shown, self._sign(content)):
            return None
        version, until, root, zones, place, turn = content.split(b"|")
        if version != _VERSION or int(until) < self._clock.wall():
            return None
        return CallContext(
            root=root.decode(),
            zones=frozenset(zones.decode().split(",")),
            place=read_place(place),
            again=turn == b"again",
        )

    def _sign(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, hashlib.sha256).hex().encode()
