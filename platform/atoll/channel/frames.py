"""Frames: four bytes of length (big-endian), then one msgpack value."""

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TypeAlias, Union, cast

import msgpack

FRAME_LIMIT_BYTES = 16 * 2**20
LENGTH = Struct(">I")

Wire: TypeAlias = Union[bool, int, float, str, bytes, Sequence["Wire"], Mapping[str, "Wire"], None]  # noqa: UP007
"""What msgpack carries."""


class FrameError(Exception):
    """Bytes that are no frame, or one that is too large; the connection can't go on."""


def pack(message: Wire) -> bytes:
    """One frame. Raises `FrameError` if it is larger than `FRAME_LIMIT_BYTES`."""
    body = cast("bytes", msgpack.packb(message))
    if len(body) > FRAME_LIMIT_BYTES:
        raise FrameError(
            f"a message of {len(body)} bytes is over the limit of {FRAME_LIMIT_BYTES}; send it in parts"
        )
    return LENGTH.pack(len(body)) + body


def length_of(head: bytes) -> int:
    """Bytes that follow a frame's four. Raises `FrameError` beyond `FRAME_LIMIT_BYTES`."""
    (length,) = LENGTH.unpack(head)
    if length > FRAME_LIMIT_BYTES:
        raise FrameError(
            f"a frame of {length} bytes is announced, over the limit of {FRAME_LIMIT_BYTES}; the other side is no agent"
        )
    return cast("int", length)


def unpack(body: bytes) -> Wire:
    """The value of a frame. Raises `FrameError`."""
    try:
        return cast("Wire", msgpack.unpackb(body, use_list=False))
    except (ValueError, msgpack.UnpackException) as error:
        raise FrameError(f"a frame is no msgpack: {error}") from error
