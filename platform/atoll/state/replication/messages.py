"""What agents say to each other about the log and in transfers, and how it looks on the wire.

A message is a msgpack array ``[version, kind, field, ...]``. A version and its successor work side by side: the
successor may only add fields at the end, with a default for those who don't send them, so a reader passes over what it
does not know at the end of an array. A kind that is not known, or a version beyond the successor, is refused: whoever
sent it relies on being understood.

On a log connection the receiver says `Subscribe`, `Acknowledge`, `Ping`; the sender `LogBatch`, `Gap`, `Pong`. In a
transfer each question has one answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from atoll.channel import Wire
from atoll.state.errors import StateError
from atoll.state.kind import Kind
from atoll.state.stamp import Stamp, is_stamp
from atoll.state.store import Batch, BucketDigest, Cell, CellKey, Listing
from atoll.state.vector import Dot, Vector

VERSION: Final = 1


class MessageError(StateError):
    """A message that can't be read; the connection on which it came can't go on."""


# --- On a log connection


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The receiver's first word: who it is, what it knows, and the namespaces that its topology lets it hold."""

    region: str
    vector: Vector
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Operations for the receiver's store."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The receiver has everything of the actor up to `dot`, durably; and the sender may send `credits` more batches."""

    dot: Dot
    credits: int


@dataclass(frozen=True, slots=True)
class Gap:
    """The sender can't go on from the receiver's cursor: it must transfer, and subscribe again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for the clock, and proves that somebody is there."""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The sender's wall clock, in Unix milliseconds."""

    number: int
    wall_ms: float


# --- Questions of a transfer, and their answers


@dataclass(frozen=True, slots=True)
class Begin:
    """A transfer begins: the peer keeps its removals until `End`, or a while."""

    region: str
    membership: str
    """`Membership.digest`: who may hold what must be the same for both sides, or one would vouch for what it was never
    sent."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What the peer knows now."""

    vector: Vector
    stamp: Stamp
    """The store's clock, asked after its vector: no removal that it has collected is later."""
    complete: bool


@dataclass(frozen=True, slots=True)
class AskDigests:
    namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Digests:
    """By namespace and bucket. The vector was taken after the digests: it covers what is in them."""

    vector: Vector
    digests: Mapping[str, Mapping[int, BucketDigest]]


@dataclass(frozen=True, slots=True)
class AskListings:
    namespace: str
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Listings:
    """Some of the buckets that were asked for: at least the first one. What is missing is asked for again."""

    listings: Mapping[int, Listing]


@dataclass(frozen=True, slots=True)
class AskCells:
    namespace: str
    wanted: tuple[CellKey, ...]


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells as they are now; those that are gone are left out."""

    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The transfer is over."""

    region: str


@dataclass(frozen=True, slots=True)
class Ended: ...


LogMessage: TypeAlias = Subscribe | LogBatch | Acknowledge | Gap | Ping | Pong
Question: TypeAlias = Begin | AskDigests | AskListings | AskCells | End
Answer: TypeAlias = Begun | Digests | Listings | Cells | Ended
Message: TypeAlias = LogMessage | Question | Answer


# --- On the wire


def encode(message: Message) -> Wire:
    """The array of a message."""
    form = _BY_TYPE[type(message)]
    return [VERSION, form.kind, *form.write(message)]


def decode(wire: Wire) -> Message:
    """Reads a message. Raises `MessageError` for one that this version does not know, or that is none."""
    if isinstance(wire, str | bytes) or not isinstance(wire, Sequence) or len(wire) < 2:
        raise MessageError("a message is no array of version, kind and fields; is the peer an agent?")
    version, kind, *fields = wire
    if version not in (VERSION, VERSION + 1):
        raise MessageError(
            f"a message has version {version!r}; this agent knows {VERSION} and its successor: "
            "bring both regions to neighbouring versions"
        )
    form = _BY_KIND.get(kind) if isinstance(kind, int) else None
    if form is None:
        raise MessageError(
            f"a message has kind {kind!r}, which this agent does not know: upgrade it before its peer says such things"
        )
    try:
        message: Message = form.read(fields)
    except (ValueError, TypeError, LookupError) as error:
        raise MessageError(f"a message of kind {form.type.__name__} can't be read: {error}") from error
    return message


M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class _Form(Generic[M]):
    """How one message is written and read."""

    kind: int
    type: type[M]
    write: Callable[[M], Sequence[Wire]]
    read: Callable[[Sequence[Wire]], M]


def _whole(wire: Wire) -> int:
    if isinstance(wire, bool) or not isinstance(wire, int) or wire < 0:
        raise TypeError("a whole number is expected")
    return wire


def _integer(wire: Wire) -> int:
    if isinstance(wire, bool) or not isinstance(wire, int):
        raise TypeError("an integer is expected")
    return wire


def _number(wire: Wire) -> float:
    if isinstance(wire, bool) or not isinstance(wire, int | float):
        raise TypeError("a number is expected")
    return wire


def _text(wire: Wire) -> str:
    if not isinstance(wire, str):
        raise TypeError("a text is expected")
    return wire


def _octets(wire: Wire) -> bytes:
    if not isinstance(wire, bytes):
        raise TypeError("bytes are expected")
    return wire


def _list(wire: Wire) -> Sequence[Wire]:
    if isinstance(wire, str | bytes) or not isinstance(wire, Sequence):
        raise TypeError("an array is expected")
    return wire


def _texts(wire: Wire) -> tuple[str, ...]:
    return tuple(map(_text, _list(wire)))


def _vector(wire: Wire) -> Vector:
    if not isinstance(wire, Mapping):
        raise TypeError("a vector is expected")
    return Vector({_text(actor): _whole(seq) for actor, seq in wire.items()})


def _dot(wire: Wire) -> Dot:
    return Dot.parse(_text(wire))


def _stamp(wire: Wire) -> Stamp:
    if not is_stamp(text := _text(wire)):
        raise ValueError("a stamp is expected")
    return text


def _entries(wire: Wire) -> tuple[tuple[int, bytes], ...]:
    return tuple((_whole(entry[0]), _octets(entry[1])) for entry in map(_list, _list(wire)))


def _place(at: CellKey) -> list[Wire]:
    return [at.kind.value, at.key, at.field]


def _read_place(wire: Wire) -> CellKey:
    parts = _list(wire)
    return CellKey(Kind(_text(parts[0])), _text(parts[1]), _text(parts[2]))


def _places(wire: Wire) -> tuple[CellKey, ...]:
    return tuple(map(_read_place, _list(wire)))


def _write_cells(cells: Sequence[Cell]) -> Wire:
    return [[*_place(cell.at), cell.data] for cell in cells]


def _cells(wire: Wire) -> tuple[Cell, ...]:
    return tuple(Cell(_read_place(parts), _octets(parts[3])) for parts in map(_list, _list(wire)))


def _write_digests(digests: Mapping[str, Mapping[int, BucketDigest]]) -> Wire:
    return {
        namespace: [[bucket, digest.live, digest.removed] for bucket, digest in sorted(buckets.items())]
        for namespace, buckets in digests.items()
    }


def _digests(wire: Wire) -> dict[str, dict[int, BucketDigest]]:
    if not isinstance(wire, Mapping):
        raise TypeError("digests by namespace are expected")
    return {
        _text(namespace): {
            _whole(parts[0]): BucketDigest(_integer(parts[1]), _integer(parts[2]))
            for parts in map(_list, _list(buckets))
        }
        for namespace, buckets in wire.items()
    }


def _write_listings(listings: Mapping[int, Listing]) -> Wire:
    return [
        [bucket, dict(listing.vector), _write_cells(listing.cells)]
        for bucket, listing in sorted(listings.items())
    ]


def _listings(wire: Wire) -> dict[int, Listing]:
    return {
        _whole(parts[0]): Listing(_vector(parts[1]), _cells(parts[2])) for parts in map(_list, _list(wire))
    }


_FORMS: Final[tuple[_Form[Any], ...]] = (
    _Form(
        1,
        Subscribe,
        lambda m: [m.region, dict(m.vector), list(m.holds)],
        lambda f: Subscribe(_text(f[0]), _vector(f[1]), _texts(f[2])),
    ),
    _Form(
        2,
        LogBatch,
        lambda m: [m.batch.actor, m.batch.after, m.batch.through, [list(entry) for entry in m.batch.entries]],
        lambda f: LogBatch(Batch(_text(f[0]), _whole(f[1]), _whole(f[2]), _entries(f[3]))),
    ),
    _Form(
        3,
        Acknowledge,
        lambda m: [str(m.dot), m.credits],
        lambda f: Acknowledge(_dot(f[0]), _whole(f[1])),
    ),
    _Form(4, Gap, lambda m: [m.reason], lambda f: Gap(_text(f[0]))),
    _Form(5, Ping, lambda m: [m.number], lambda f: Ping(_whole(f[0]))),
    _Form(6, Pong, lambda m: [m.number, m.wall_ms], lambda f: Pong(_whole(f[0]), _number(f[1]))),
    _Form(10, Begin, lambda m: [m.region, m.membership], lambda f: Begin(_text(f[0]), _text(f[1]))),
    _Form(
        11,
        Begun,
        lambda m: [dict(m.vector), m.stamp, m.complete],
        lambda f: Begun(_vector(f[0]), _stamp(f[1]), bool(f[2])),
    ),
    _Form(12, AskDigests, lambda m: [list(m.namespaces)], lambda f: AskDigests(_texts(f[0]))),
    _Form(
        13,
        Digests,
        lambda m: [dict(m.vector), _write_digests(m.digests)],
        lambda f: Digests(_vector(f[0]), _digests(f[1])),
    ),
    _Form(
        14,
        AskListings,
        lambda m: [m.namespace, list(m.buckets)],
        lambda f: AskListings(_text(f[0]), tuple(map(_whole, _list(f[1])))),
    ),
    _Form(15, Listings, lambda m: [_write_listings(m.listings)], lambda f: Listings(_listings(f[0]))),
    _Form(
        16,
        AskCells,
        lambda m: [m.namespace, [_place(at) for at in m.wanted]],
        lambda f: AskCells(_text(f[0]), _places(f[1])),
    ),
    _Form(17, Cells, lambda m: [_write_cells(m.cells)], lambda f: Cells(_cells(f[0]))),
    _Form(18, End, lambda m: [m.region], lambda f: End(_text(f[0]))),
    _Form(19, Ended, lambda _: [], lambda _: Ended()),
)

_BY_KIND: Final = {form.kind: form for form in _FORMS}
_BY_TYPE: Final = {form.type: form for form in _FORMS}
