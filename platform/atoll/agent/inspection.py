"""What operators ask of a region's state (`atoll state`), and what its agent answers: the forms, without any I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

SHOWN_BYTES = 1024
"""Of a value; the rest is left out, and told by its size and digest."""

MOST_CELLS = 100
"""Of a key: an answer has to fit in one message (`atoll.rpc`)."""

MOST_KEYS = 1000


class KeyKind(StrEnum):
    """The kinds of keys, as operators call them."""

    REGISTER = "register"
    MAP = "map"
    COUNTER = "counter"
    SET = "set"
    STRONG = "strong"


# --- Questions


class _Question(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GetQuestion(_Question):
    namespace: str
    key: str
    kind: KeyKind | None = None
    """None: whatever there is under this key."""


class KeysQuestion(_Question):
    namespace: str
    prefix: str = ""
    limit: int = Field(ge=1, le=MOST_KEYS)


class ConflictsQuestion(_Question):
    namespace: str | None = None
    limit: int = Field(ge=1, le=MOST_KEYS)


class CompareQuestion(_Question):
    namespace: str | None = None
    """None: all that both hold."""
    peers: tuple[str, ...]
    timeout_s: float = Field(gt=0)


class RepairQuestion(_Question):
    namespace: str
    timeout_s: float = Field(gt=0)


# --- Answers


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell as a region has it."""

    kind: KeyKind
    field: str
    """A map's field, a counter's actor, a set's element; empty for registers."""
    stamp: str | None
    """The write's hybrid clock, 16 hex digits; None where the store keeps none (counters, sets) and for `strong`."""
    actor: str | None
    """Who wrote it, ``<region>.<epoch>``; None for `strong`."""
    seq: int
    """The write's number with its actor; for `strong` the version."""
    removed: bool
    """A tombstone, or an element's addition whose removal came first."""
    expiry_ms: int | None
    """From when on it is hidden, in Unix milliseconds."""
    value: str | None
    """Its first bytes as text (a value's first character says how it is encoded, see `atoll.state.values`)."""
    size: int
    """Of the value, in bytes."""
    digest: str
    """Of the value: 12 hex digits of SHA-256."""


@dataclass(frozen=True, slots=True)
class CellsAnswer:
    cells: tuple[CellView, ...]
    more: int
    """Cells that were left out."""


@dataclass(frozen=True, slots=True, order=True)
class KeyView:
    key: str
    kind: KeyKind


@dataclass(frozen=True, slots=True)
class KeysAnswer:
    keys: tuple[KeyView, ...]
    more: bool
    """Whether there are more of them after the last."""


@dataclass(frozen=True, slots=True)
class ConflictView:
    """Two writes of one cell, neither of whose writers knew the other's. Never a value."""

    namespace: str
    kind: KeyKind
    key: str
    field: str
    winner: str
    """``<actor>:<seq>``."""
    winner_stamp: str
    loser: str
    loser_stamp: str


@dataclass(frozen=True, slots=True)
class ConflictsAnswer:
    conflicts: tuple[ConflictView, ...]
    """The newest first; a store remembers about 1,000."""
    counted: Mapping[str, int]
    """All since the store was first opened, by namespace."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two regions' digests of one namespace."""

    namespace: str
    region: str
    peer: str
    buckets: int | None
    """That differ for good, of 256; None: it could not be told."""
    reason: str = ""
    """Why it could not be told."""


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    compared: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class RepairAnswer:
    transfers: tuple[str, ...]
    """The regions that differed and from which this one has taken over what it lacked."""
    reasons: Mapping[str, str]
    """Why nothing could be told of, or taken from, another region."""


CELLS: TypeAdapter[CellsAnswer] = TypeAdapter(CellsAnswer)
KEYS: TypeAdapter[KeysAnswer] = TypeAdapter(KeysAnswer)
CONFLICTS: TypeAdapter[ConflictsAnswer] = TypeAdapter(ConflictsAnswer)
COMPARED: TypeAdapter[ComparedAnswer] = TypeAdapter(ComparedAnswer)
REPAIRED: TypeAdapter[RepairAnswer] = TypeAdapter(RepairAnswer)


# --- Several regions' answers side by side


def differing(answers: Sequence[CellsAnswer]) -> tuple[str, ...]:
    """The cells (``map price``) that not all regions have alike, as far as all answers go. Of tombstones some regions
    may have collected theirs: they count for nothing.
    """
    ends = [(answer.cells[-1].kind, answer.cells[-1].field) for answer in answers if answer.more]
    end = min(ends, default=None)
    seen: dict[tuple[KeyKind, str], list[frozenset[object]]] = {}
    for number, answer in enumerate(answers):
        cells: dict[tuple[KeyKind, str], set[object]] = {}
        for cell in answer.cells:
            if not cell.removed:
                cells.setdefault((cell.kind, cell.field), set()).add(
                    (cell.stamp, cell.actor, cell.seq, cell.expiry_ms, cell.digest)
                )
        for at, found in cells.items():
            seen.setdefault(at, [frozenset()] * len(answers))[number] = frozenset(found)
    return tuple(
        f"{kind} {field}".rstrip()
        for (kind, field), found in sorted(seen.items())
        if len(set(found)) > 1 and (end is None or (kind, field) <= end)
    )


def together(answers: Mapping[str, KeysAnswer]) -> dict[KeyView, tuple[str, ...]]:
    """Each key with the regions that have it, as far as all regions' answers go."""
    ends = [answer.keys[-1] for answer in answers.values() if answer.more and answer.keys]
    end = min(ends, default=None)
    found = sorted({view for answer in answers.values() for view in answer.keys})
    return {
        view: tuple(region for region, answer in answers.items() if view in answer.keys)
        for view in found
        if end is None or view <= end
    }


def verdict(compared: Collection[Comparison]) -> bool | None:
    """True: all alike; False: some differ; None: not all could be told, and none of the others differs."""
    if any(comparison.buckets for comparison in compared):
        return False
    return None if not compared or any(comparison.buckets is None for comparison in compared) else True
