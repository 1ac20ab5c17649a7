"""The log's operations as bytes: msgpack arrays whose first element is the version.

    [1, "w", stamp, namespace, kind, key, changes, deps, wall_ms]      a write
        register, map   [[field, stamp or "" (the operation's), expiry_ms or 0, payload or false,
                          replaced dot or ""], ...]
        counter         [[plus, minus]]                                cumulative totals of the operation's actor
        set             [[element, 1 added / 0 not, [removed dot, ...]], ...]
    [1, "h", stamp, vector, wall_ms]                                   a heartbeat; its vector knows itself
    [1, "b", stamp, previous actor or "", previous seq or 0]           begin of an epoch

Vectors and `deps` are maps of actor to number; dots are ``<actor>:<seq>``. Whose operation it is, and its number,
stand beside the bytes.

A reader ignores elements beyond those it knows, in the array and in each change: a successor may add some without a new
version, if those who don't know them may ignore them. What they may not ignore gets a new version, which they refuse.

Strings are written in msgpack's old raw format and read in any, and an empty map may come as an empty array, because
Lua's cmsgpack knows neither bytes nor maps as types of their own.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgpack

from atoll.state.errors import StateError
from atoll.state.kind import Kind
from atoll.state.stamp import Stamp, is_stamp
from atoll.state.vector import NOTHING, Dot, Vector

VERSION: Final = 1


class UnreadableOperation(StateError):
    """An operation of the log can't be read; it holds the links from that region up until the program is updated."""


@dataclass(frozen=True, slots=True)
class CellWrite:
    """A write of a register or of a map's field."""

    field: str
    payload: bytes | None
    """None removes."""
    expiry_ms: int = 0
    replaced: Dot | None = None
    """What the writer's store had in this cell."""
    stamp: Stamp | None = None
    """None: the operation's. A purge of an expired value has the value's."""


@dataclass(frozen=True, slots=True)
class Totals:
    """A counter's totals of the operation's actor."""

    plus: int
    minus: int


@dataclass(frozen=True, slots=True)
class ElementWrite:
    """An element put into a set or taken out of it."""

    element: str
    added: bool
    removed: tuple[Dot, ...]
    """The dots that the writer's store had for it; the operation's own replaces them, if it adds."""


CellWrites: TypeAlias = tuple[CellWrite, ...]
ElementWrites: TypeAlias = tuple[ElementWrite, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Changes of one key."""

    stamp: Stamp
    namespace: str
    kind: Kind
    key: str
    changes: CellWrites | Totals | ElementWrites
    """By kind: cells of a register or a map, a counter's totals, a set's elements."""
    deps: Vector
    """What must be known wherever this is applied."""
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a region knows."""

    stamp: Stamp
    vector: Vector
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Begin:
    """The first operation of an epoch."""

    stamp: Stamp
    previous: Dot | None
    """The last operation of the epoch before, as far as the store still had it."""


Operation: TypeAlias = Write | Heartbeat | Begin


def encode(operation: Operation) -> bytes:
    packed = msgpack.packb([VERSION, *_parts(operation)], use_bin_type=False)
    assert isinstance(packed, bytes)
    return packed


def decode(data: bytes) -> Operation:
    """Raises `UnreadableOperation`, which says why and never shows a value."""
    try:
        parts = msgpack.unpackb(data, raw=True, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise UnreadableOperation(f"an operation of {len(data)} bytes is no msgpack: {error}") from None
    if not isinstance(parts, list | tuple) or len(parts) < 2:
        raise UnreadableOperation("an operation is a msgpack array that begins with version and type")
    if parts[0] != VERSION:
        raise UnreadableOperation(
            f"an operation of version {parts[0]!r}; this program reads version {VERSION}: "
            "update it here before the regions that write the new one"
        )
    try:
        return _decode(parts)
    except (ValueError, TypeError, IndexError, AttributeError, UnicodeDecodeError):
        raise UnreadableOperation(
            f"an operation of version {VERSION} and type {parts[1]!r} is not laid out as one"
        ) from None


def place(data: bytes) -> tuple[str, str] | None:
    """Namespace and key of a write, without reading the rest; None for what is none, or can't be read."""
    try:
        parts = msgpack.unpackb(data, raw=True, strict_map_key=False)
        return (_text(parts[3]), _text(parts[5])) if parts[:2] == [VERSION, b"w"] else None
    except (ValueError, TypeError, IndexError, msgpack.UnpackException):
        return None


def _parts(operation: Operation) -> list[object]:
    match operation:
        case Write():
            return [
                "w",
                operation.stamp,
                operation.namespace,
                operation.kind.value,
                operation.key,
                _changes(operation.changes),
                dict(operation.deps),
                operation.wall_ms,
            ]
        case Heartbeat():
            return ["h", operation.stamp, dict(operation.vector), operation.wall_ms]
        case Begin():
            previous = operation.previous or Dot("", 0)
            return ["b", operation.stamp, previous.actor, previous.seq]


def _changes(changes: CellWrites | Totals | ElementWrites) -> list[list[object]]:
    if isinstance(changes, Totals):
        return [[changes.plus, changes.minus]]
    return [
        [
            change.field,
            change.stamp or "",
            change.expiry_ms,
            False if change.payload is None else change.payload,
            str(change.replaced or ""),
        ]
        if isinstance(change, CellWrite)
        else [change.element, int(change.added), [str(dot) for dot in change.removed]]
        for change in changes
    ]


def _decode(parts: Any) -> Operation:
    stamp = _stamp(parts[2])
    match parts[1]:
        case b"w":
            kind = Kind(_text(parts[4]))
            return Write(
                stamp,
                _text(parts[3]),
                kind,
                _text(parts[5]),
                _decode_changes(kind, parts[6]),
                _vector(parts[7]),
                _number(parts[8]),
            )
        case b"h":
            return Heartbeat(stamp, _vector(parts[3]), _number(parts[4]))
        case b"b":
            actor = _text(parts[3])
            return Begin(stamp, Dot(actor, _number(parts[4])) if actor else None)
    raise ValueError("no such type")


def _decode_changes(kind: Kind, changes: Any) -> CellWrites | Totals | ElementWrites:
    match kind:
        case Kind.REGISTER | Kind.MAP:
            return tuple(
                CellWrite(
                    field=_text(change[0]),
                    stamp=_stamp(change[1]) if change[1] else None,
                    expiry_ms=_number(change[2]),
                    payload=None if change[3] is False else _bytes(change[3]),
                    replaced=Dot.parse(_text(change[4])) if change[4] else None,
                )
                for change in changes
            )
        case Kind.COUNTER:
            return Totals(_number(changes[0][0]), _number(changes[0][1]))
        case Kind.SET:
            return tuple(
                ElementWrite(
                    _text(change[0]), bool(change[1]), tuple(Dot.parse(_text(dot)) for dot in change[2])
                )
                for change in changes
            )


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("not bytes")
    return value


def _text(value: object) -> str:
    return _bytes(value).decode()


def _number(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError("not a number")
    return value


def _stamp(value: object) -> Stamp:
    text = _text(value)
    if not is_stamp(text):
        raise ValueError("not a stamp")
    return text


def _vector(value: Any) -> Vector:
    return Vector({_text(actor): _number(seq) for actor, seq in value.items()}) if value else NOTHING
