"""An entry of the cache, and its bytes in the cache store.

    1 byte          2 bytes, big-endian        msgpack                                          the rest
    version, 1      length of the header       [made, soft, hard, delta, negative,              payload
                                                dot's actor, dot's seq, vector]

Times are milliseconds of the clock of the store that holds the entry (one clock for all processes of the region; an
entry that is in a process's memory alone has that process's). The version of the value that the entry holds, against
which floors are compared, is its vector. Another version of this format is no entry to this code: it loads anew.
"""

import struct
from dataclasses import dataclass

import msgpack

from atoll.state.vector import Dot, Vector

VERSION = 1
_LEAD = struct.Struct(">BH")


class NotAnEntry(ValueError):
    """Bytes that this version of the format can't read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value, or the knowledge that there is none, with what says how long it may be served and to whom."""

    value: bytes | None
    """None: there is no such value (a negative entry)."""
    made_ms: int
    """When its load was allowed to begin. Whatever was written before is in it."""
    soft_ms: int
    """From here on it is to be made anew."""
    hard_ms: int
    """From here on it is served to nobody, whatever fails."""
    delta_ms: float
    """What its load took: the dearer, the earlier it is refreshed."""
    dot: Dot | None
    """The newest write that it was made from (its origin, epoch and sequence); None if nothing says."""
    vector: Vector
    """What its region's state had seen when it was loaded, or less."""

    @property
    def negative(self) -> bool:
        return self.value is None


def encode(entry: Entry) -> bytes:
    """The entry's bytes."""
    dot = entry.dot
    header: bytes = msgpack.packb(
        [
            entry.made_ms,
            entry.soft_ms,
            entry.hard_ms,
            entry.delta_ms,
            entry.negative,
            "" if dot is None else dot.actor,
            0 if dot is None else dot.seq,
            dict(entry.vector),
        ]
    )
    return _LEAD.pack(VERSION, len(header)) + header + (entry.value or b"")


def decode(content: bytes) -> Entry:
    """The reverse of `encode`. Raises `NotAnEntry`."""
    try:
        version, length = _LEAD.unpack_from(content)
        if version != VERSION:
            raise NotAnEntry(f"an entry of version {version}, and this code reads version {VERSION}")
        payload = _LEAD.size + length
        header = msgpack.unpackb(content[_LEAD.size : payload])
        made_ms, soft_ms, hard_ms, delta_ms, negative, actor, seq, vector = header
        return Entry(
            value=None if negative else content[payload:],
            made_ms=made_ms,
            soft_ms=soft_ms,
            hard_ms=hard_ms,
            delta_ms=delta_ms,
            dot=Dot(actor, seq) if actor else None,
            vector=Vector(vector),
        )
    except (struct.error, TypeError, ValueError, msgpack.UnpackException) as error:
        raise NotAnEntry(f"no entry of the cache: {error}") from error
