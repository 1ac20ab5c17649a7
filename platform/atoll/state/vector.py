"""Who wrote what: actors, dots and version vectors.

An **actor** is one epoch of one region's store, ``<region>.<epoch>``. Every start of a store begins a new epoch, so
numbers of an epoch are never issued twice, whatever a crash or a restored disk takes back. A **dot** is one operation
of an actor, numbered densely from 1. A **vector** says up to which number the operations of each actor are known.
(Parker et al., "Detection of mutual inconsistency in distributed systems", 1983; dots: Preguiça et al., "Dotted
version vectors", 2010.)
"""
# ruff: noqa: SLF001 - vectors look into each other

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

Actor: TypeAlias = str
"""``<region>.<epoch>``, such as ``eu-west.1763720000``. Compared by its bytes."""

FIRST_EPOCH: Final = 1_000_000_000
"""The smallest epoch. Epochs are Unix seconds or a little more, so all have ten digits (until the year 2286), and the
order of a region's actors as text is the order of their epochs. Merges rely on that where a region purges what an
earlier epoch of its own wrote."""


def actor_of(region: str, epoch: int) -> Actor:
    """Raises `ValueError` for an epoch that has not ten digits."""
    if not FIRST_EPOCH <= epoch < 10 * FIRST_EPOCH:
        raise ValueError(f"epoch {epoch} of region {region} is not a number of ten digits (Unix seconds)")
    return f"{region}.{epoch}"


def region_of(actor: Actor) -> str:
    return actor.rpartition(".")[0]


def epoch_of(actor: Actor) -> int:
    """Raises `ValueError` if `actor` is none."""
    region, _, epoch = actor.rpartition(".")
    if not (region and epoch.isascii() and epoch.isdigit()):
        raise ValueError(f"{actor!r} is not an actor; one is written <region>.<epoch>")
    return int(epoch)


class Dot(NamedTuple):
    """One operation; as text ``<actor>:<seq>``."""

    actor: Actor
    seq: int

    def __str__(self) -> str:
        return f"{self.actor}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "Dot":
        """Reads ``<actor>:<seq>``; raises `ValueError` for anything else."""
        actor, _, seq = text.rpartition(":")
        if not (actor and seq.isascii() and seq.isdigit()):
            raise ValueError(f"{text!r} is not a dot; one is written <region>.<epoch>:<seq>")
        return cls(actor, int(seq))


class Vector(Mapping[Actor, int]):
    """How far each actor is known: immutable, hashable, and partly ordered (``<=``: everything known here is there).

    An actor that is not in it is known up to 0; zeros are not kept, so equal knowledge is equal.
    """

    __slots__ = ("_hash", "_seqs")

    def __init__(self, seqs: Mapping[Actor, int] | Iterable[tuple[Actor, int]] = ()) -> None:
        self._seqs = {actor: seq for actor, seq in dict(seqs).items() if seq > 0}
        self._hash: int | None = None

    @classmethod
    def of(cls, dots: Iterable[Dot]) -> "Vector":
        """The smallest vector that covers all of them."""
        seqs: dict[Actor, int] = {}
        for actor, seq in dots:
            if seq > seqs.get(actor, 0):
                seqs[actor] = seq
        return cls(seqs)

    def __getitem__(self, actor: Actor) -> int:
        return self._seqs[actor]

    def __iter__(self) -> Iterator[Actor]:
        return iter(self._seqs)

    def __len__(self) -> int:
        return len(self._seqs)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._seqs.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self._seqs == other._seqs if isinstance(other, Vector) else NotImplemented

    def __le__(self, other: "Vector") -> bool:
        theirs = other._seqs
        return all(seq <= theirs.get(actor, 0) for actor, seq in self._seqs.items())

    def __lt__(self, other: "Vector") -> bool:
        return self != other and self <= other

    def __repr__(self) -> str:
        return "Vector(" + ", ".join(f"{actor}:{seq}" for actor, seq in sorted(self._seqs.items())) + ")"

    def seq(self, actor: Actor) -> int:
        """Up to where `actor` is known; 0 if nothing of it is."""
        return self._seqs.get(actor, 0)

    def covers(self, dot: Dot) -> bool:
        return self._seqs.get(dot.actor, 0) >= dot.seq

    def join(self, other: "Vector") -> "Vector":
        """What either knows: the larger number of each actor."""
        if len(other._seqs) > len(self._seqs):
            self, other = other, self  # noqa: PLW0642 - the longer one is copied
        joined = dict(self._seqs)
        for actor, seq in other._seqs.items():
            if seq > joined.get(actor, 0):
                joined[actor] = seq
        return Vector(joined)

    def meet(self, other: "Vector") -> "Vector":
        """What both know: the smaller number of each actor."""
        theirs = other._seqs
        return Vector({actor: min(seq, theirs.get(actor, 0)) for actor, seq in self._seqs.items()})

    def raised(self, actor: Actor, seq: int) -> "Vector":
        """This vector, knowing `actor` at least up to `seq`."""
        return self if seq <= self._seqs.get(actor, 0) else Vector({**self._seqs, actor: seq})

    def missing(self, other: "Vector") -> "Vector":
        """The part of `other` that lies beyond this one: the actors on which it is ahead, with its numbers."""
        return Vector({actor: seq for actor, seq in other._seqs.items() if seq > self._seqs.get(actor, 0)})

    def latest(self, region: str) -> Dot | None:
        """How far the newest known epoch of `region` is known: where the stream of its log goes on."""
        actors = [actor for actor in self._seqs if region_of(actor) == region]
        if not actors:
            return None
        newest = max(actors, key=epoch_of)
        return Dot(newest, self._seqs[newest])


NOTHING: Final = Vector()
"""The vector that knows nothing."""
