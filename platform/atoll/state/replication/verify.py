"""Whether two replicas hold the same: digests compared twice, so that what is on its way alarms nobody.

Vectors are hardly ever equal between two regions that write, so digests can't wait for that. Instead: look at both
sides (1), wait until each side knows what the other one knew at its look, look again (2). A bucket that differs and
that neither side has changed between its two looks is a difference that replication will not mend: replicas are joins
of what they know, so p1 = p2 >= o1 = o2 >= p1 would make them equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from atoll.state.replication.messages import AskDigests, Digests
from atoll.state.replication.steps import CatchUp, PeerCatchesUp, Steps, ask, own
from atoll.state.store import BucketDigest, Store
from atoll.state.vector import Vector

LOOKS = 3
"""Looks at most. Buckets that are written all the time are compared another time."""

PATIENCE_S = 3.0
"""One side must know what the other one knew within this time; a link that is down makes a comparison pointless."""

Live: TypeAlias = Mapping[tuple[str, int], int]
"""Digest by namespace and bucket."""


@dataclass(frozen=True, slots=True)
class Look:
    """Both sides' digests, each with a vector that covers what is in them."""

    ours: Live
    known_here: Vector
    theirs: Live
    known_there: Vector


def verify(namespaces: Sequence[str]) -> Steps[int | None]:
    """Compares the namespaces that both sides hold. Returns how many buckets differ for good; None: can't tell now."""
    if not namespaces:
        return 0
    before = yield from _look(namespaces)
    differing = _differing(before)
    for _ in range(LOOKS - 1):
        if not differing:
            return 0
        if not (yield CatchUp(before.known_there, PATIENCE_S)):
            return None
        if not (yield PeerCatchesUp(before.known_here, PATIENCE_S)):
            return None
        after = yield from _look(namespaces)
        differing = _differing(after)
        lasting = [
            bucket
            for bucket in differing
            if after.ours.get(bucket) == before.ours.get(bucket)
            and after.theirs.get(bucket) == before.theirs.get(bucket)
        ]
        if lasting:
            return len(lasting)
        before = after
    return None if differing else 0


def _look(namespaces: Sequence[str]) -> Steps[Look]:
    answer = yield from ask(AskDigests(tuple(namespaces)), Digests)
    ours, known = yield from own(lambda store: look(store, namespaces))
    return Look(_live(ours), known, _live(answer.digests), answer.vector)


async def look(
    store: Store, namespaces: Sequence[str]
) -> tuple[dict[str, Mapping[int, BucketDigest]], Vector]:
    """Digests of namespaces, and a vector taken afterwards: it covers what is in them."""
    digests = {namespace: await store.digests(namespace) for namespace in namespaces}
    return digests, await store.vector()


def _live(digests: Mapping[str, Mapping[int, BucketDigest]]) -> Live:
    return {
        (namespace, bucket): digest.live
        for namespace, buckets in digests.items()
        for bucket, digest in buckets.items()
        if digest.live
    }


def _differing(seen: Look) -> list[tuple[str, int]]:
    return sorted(
        bucket
        for bucket in seen.ours.keys() | seen.theirs.keys()
        if seen.ours.get(bucket) != seen.theirs.get(bucket)
    )
