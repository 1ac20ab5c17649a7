"""A cell's value and its bytes, whatever the kind."""

from typing import TypeAlias

from atoll.state import envelope
from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.types import awset, counter
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally

CellValue: TypeAlias = Envelope | Tally | Dots
"""Of a register or a map's field; of an actor in a counter; of an element in a set."""


def encode(value: CellValue) -> bytes:
    """As the store keeps it."""
    match value:
        case Envelope():
            return envelope.encode(value)
        case Tally():
            return counter.encode(value)
        case Dots():
            return awset.encode(value)


def header(value: CellValue) -> bytes:
    """As a listing shows it: without an envelope's payload."""
    return value.header() if isinstance(value, Envelope) else encode(value)


def decode(kind: Kind, data: bytes) -> CellValue:
    """Raises `ValueError` for bytes that are none of `kind`."""
    match kind:
        case Kind.REGISTER | Kind.MAP:
            return envelope.decode(data)
        case Kind.COUNTER:
            return counter.decode(data)
        case Kind.SET:
            return awset.decode(data)
