"""What is kept for a register or a field of a map: the value with its stamp, its dot and its expiry.

    <stamp>|<actor>|<seq>|<expiry in Unix ms, or empty>|<payload>      a value
    <stamp>|<actor>|<seq>|x|                                          a tombstone

The payload is last and may hold any byte, ``|`` included. The part before it, the header, says which write a cell
holds; listings carry it alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

from atoll.state.stamp import Stamp, is_stamp
from atoll.state.vector import Actor, Dot


class CellOrder(NamedTuple):
    """What decides between two writes of a cell: the larger wins.

    A tombstone may carry the stamp of the value that it removes; that is how a region purges its own expired values.
    The number at the end decides nothing in practice, and makes the order total.
    """

    stamp: Stamp
    actor: Actor
    removed: bool
    seq: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """One write of one cell."""

    stamp: Stamp
    actor: Actor
    seq: int
    payload: bytes | None
    """None for a tombstone."""
    expiry_ms: int = 0
    """From when on the value is hidden, in Unix milliseconds; 0: never."""

    @property
    def dot(self) -> Dot:
        return Dot(self.actor, self.seq)

    @property
    def removed(self) -> bool:
        return self.payload is None

    @property
    def order(self) -> CellOrder:
        return CellOrder(self.stamp, self.actor, self.payload is None, self.seq)

    def expired(self, now_ms: int) -> bool:
        return 0 < self.expiry_ms <= now_ms

    def visible(self, now_ms: int) -> bytes | None:
        """What a reader sees at `now_ms`: the payload, or None for a tombstone and an expired value."""
        return None if self.expired(now_ms) else self.payload

    def header(self) -> bytes:
        """All but the payload."""
        expiry = "x" if self.payload is None else str(self.expiry_ms or "")
        return f"{self.stamp}|{self.actor}|{self.seq}|{expiry}|".encode()


def encode(envelope: Envelope) -> bytes:
    return envelope.header() + (envelope.payload or b"")


def decode(data: bytes) -> Envelope:
    """Raises `ValueError`, which never shows the payload, for bytes that are no envelope.

    A header alone decodes to an envelope with an empty payload.
    """
    parts = data.split(b"|", 4)
    if len(parts) != 5:
        raise ValueError(f"an envelope has five parts, these {len(data)} bytes have {len(parts)}")
    stamp, actor, seq, expiry, payload = parts
    if not (is_stamp(text := stamp.decode("ascii", "replace")) and actor and seq.isdigit()):
        raise ValueError("not an envelope: its first parts are no stamp, actor and number")
    if expiry == b"x":
        return Envelope(text, actor.decode(), int(seq), None)
    if expiry and not expiry.isdigit():
        raise ValueError("not an envelope: its fourth part is neither an expiry nor the mark of a tombstone")
    return Envelope(text, actor.decode(), int(seq), payload, int(expiry or 0))
