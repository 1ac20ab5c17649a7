"""Digests: one number a bucket that is equal in two stores if their cells are.

A bucket's digest is the sum of the hashes of what is in it, so that each change costs one addition:
new digest = old digest - hash of the old cell + hash of the new one. (Additive multiset hash: Clarke et al.,
"Incremental multiset hash functions", 2003. It finds accidents, not attacks.)

The hash is the first 10 hex digits (40 bits) of SHA-1 over these bytes, where ``#`` is a length in bytes, in decimal:

    <kind>:<#key>:<key>:<#field>:<field>:<identity>

with one hash for each of these identities:

    a register's or a field's cell    <stamp>|<actor>          field: empty for a register
    an actor's tally of a counter     <plus> <minus> <seq>     field: the actor
    each live dot of a set element    <actor>:<seq>            field: the element
    each removed dot of an element    -<actor>:<seq>

Tombstones and removed dots are summed in `BucketDigest.removed`, all else in `BucketDigest.live`. 2**23 cells of one
bucket fit into the 63 bits that a Valkey hash field can add up.

The bucket of a key is the first byte of SHA-1 over ``<kind>:<key>``.
"""

import hashlib
from typing import Final

from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.raw import CellValue
from atoll.state.store import BucketDigest, CellKey
from atoll.state.types import counter
from atoll.state.types.counter import Tally

BUCKETS: Final = 256

NO_DIGEST: Final = BucketDigest()


def bucket_of(kind: Kind, key: str) -> int:
    return hashlib.sha1(f"{kind}:{key}".encode(), usedforsecurity=False).digest()[0]


def hash_of(at: CellKey, identity: bytes) -> int:
    key, field = at.key.encode(), at.field.encode()
    data = b"%b:%d:%b:%d:%b:%b" % (at.kind.encode(), len(key), key, len(field), field, identity)
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()[:5], "big")


def digest_of(at: CellKey, value: CellValue) -> BucketDigest:
    """What one cell adds to its bucket's digest."""
    if isinstance(value, Envelope):
        hashed = hash_of(at, f"{value.stamp}|{value.actor}".encode())
        return BucketDigest(removed=hashed) if value.removed else BucketDigest(live=hashed)
    if isinstance(value, Tally):
        return BucketDigest(live=hash_of(at, counter.encode(value)))
    return BucketDigest(
        live=sum(hash_of(at, f"{dot}".encode()) for dot in value.live),
        removed=sum(hash_of(at, f"-{dot}".encode()) for dot in value.removed),
    )
