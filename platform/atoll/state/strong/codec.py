"""MessagePack for what registers hold. Decoding gives plain lists, maps, text, numbers and bytes."""

from typing import Any

import msgpack


def pack(document: Any) -> bytes:
    packed: bytes = msgpack.packb(document)
    return packed


def unpack(packed: bytes) -> Any:
    """Raises `ValueError` for what is not one whole document."""
    return msgpack.unpackb(packed)
