"""Sessions: what a client has read and written, so that no region shows it anything older.

Terry et al., "Session guarantees for weakly consistent replicated data", 1994. A session is a version vector of the
dots that it has read and written. A read waits until the region knows them (read your writes, monotonic reads); a write
names them as its dependencies, and no region applies it before it knows them (monotonic writes, writes follow reads).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection
from typing import Final, cast

import msgpack

from atoll.state.vector import NOTHING, Dot, Vector, epoch_of, region_of

HEADER: Final = "Atoll-Session"
"""Name of the header, and of the cookie: a browser sends the one, a program the other."""
LIMIT_BYTES: Final = 4096
"""A longer token is not read: a cookie can't be longer (RFC 6265, section 6.1)."""
_VERSION: Final = "1"
_READ: Final = ("1", "2")
"""A version and its successor work side by side: the successor may only add parts behind the first one, which it can do
without, so they are passed over here. Clients go from updated regions to others while a deployment is updated."""
_MAC_BYTES: Final = 16


class Session:
    """One client's, while one request of it is served."""

    __slots__ = ("_before", "_needs")

    def __init__(self, needs: Vector = NOTHING) -> None:
        self._before = needs
        self._needs = needs

    def needs(self) -> Vector:
        """What must be known where the client reads, and wherever its writes are applied."""
        return self._needs

    def saw(self, *dots: Dot) -> None:
        """The client has been shown what these writes made, or has written them."""
        for dot in dots:
            self._needs = self._needs.raised(dot.actor, dot.seq)

    def join(self, other: Vector) -> None:
        """Takes over what was read and written on the client's behalf elsewhere."""
        self._needs = self._needs.join(other)

    def forget(self, after: Dot) -> None:
        """What the actor wrote after this one is lost for good: nobody can wait for it any more."""
        if self._needs.seq(after.actor) > after.seq:
            self._needs = Vector({**self._needs, after.actor: after.seq})

    @property
    def grown(self) -> bool:
        """Whether the client must be given a new token."""
        return self._needs is not self._before and self._needs != self._before


def pruned(needs: Vector, stable: Vector) -> Vector:
    """A session without what every region knows anyway: one to three entries are left of most."""
    return Vector({actor: seq for actor, seq in needs.items() if seq > stable.seq(actor)})


def kept(needed: Dot, said: Collection[Vector]) -> Dot:
    """How much of what a session needs of an actor there still is: `needed`, or up to where its epoch was lost.

    `said` is what this region knows, and what each region that could bring the rest said last (nothing: it was not
    heard). An operation is lost when a later epoch of its region has begun and nobody has it. Only who knows of that
    epoch can say so: it hears no more of the one before, and one that is cut off may have what nobody else has.
    """
    epoch = epoch_of(needed.actor)
    newest = (vector.latest(region_of(needed.actor)) for vector in said)
    if all(latest is not None and epoch_of(latest.actor) > epoch for latest in newest):
        return Dot(needed.actor, min(needed.seq, max(vector.seq(needed.actor) for vector in said)))
    return needed


class SessionTokens:
    """Writes sessions as text and reads them back; signed, so a client can't ask for what was never written.

    Such a token would make every read of it wait in vain.
    """

    def __init__(self, key: bytes) -> None:
        """`key` is the deployment's."""
        self._key = key

    def write(self, needs: Vector) -> str:
        """``1.<payload>.<mac>``, in the alphabet of URLs."""
        content = _VERSION + "." + _text(cast("bytes", msgpack.packb(dict(sorted(needs.items())))))
        return content + "." + _text(self._mac(content))

    def read(self, token: str) -> Vector | None:
        """The session; None if it is none of this deployment's, or of a version that is not read."""
        content, _, mac = token.rpartition(".")
        version, _, payload = content.partition(".")
        if len(token) > LIMIT_BYTES or version not in _READ or not token.isascii():
            return None
        try:
            if not hmac.compare_digest(_bytes(mac), self._mac(content)):
                return None
            parts = msgpack.Unpacker()
            parts.feed(_bytes(payload))
            return Vector(cast("dict[str, int]", parts.unpack()))
        except (binascii.Error, ValueError, msgpack.OutOfData):
            return None

    def _mac(self, content: str) -> bytes:
        return hmac.digest(self._key, content.encode(), hashlib.sha256)[:_MAC_BYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
