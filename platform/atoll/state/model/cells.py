"""The cells of all namespaces, with everything that is kept about them: digests, index, queues."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from atoll.state.digest import NO_DIGEST, bucket_of, digest_of
from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.raw import CellValue
from atoll.state.store import BucketDigest, CellKey
from atoll.state.types.awset import Dots

Place: TypeAlias = tuple[str, CellKey]
"""A namespace and a cell in it."""


class Cells:
    """Every change goes through `put`, which keeps digests, index and queues in step with the cells."""

    __slots__ = ("_cells", "_digests", "_index", "expiries", "graves")

    def __init__(self) -> None:
        self._cells: dict[tuple[str, Kind, str], dict[str, CellValue]] = {}
        self._digests: dict[str, dict[int, BucketDigest]] = {}
        self._index: dict[tuple[str, int], set[tuple[Kind, str]]] = {}
        self.graves: dict[Place, None] = {}
        """Cells that are to be collected: tombstones, and elements with removed dots; oldest first."""
        self.expiries: dict[Place, int] = {}
        """When values that the own region wrote expire."""

    def copy(self) -> "Cells":
        twin = Cells()
        twin._cells = {key: dict(fields) for key, fields in self._cells.items()}
        twin._digests = {namespace: dict(digests) for namespace, digests in self._digests.items()}
        twin._index = {bucket: set(keys) for bucket, keys in self._index.items()}
        twin.graves = dict(self.graves)
        twin.expiries = dict(self.expiries)
        return twin

    def get(self, namespace: str, at: CellKey) -> CellValue | None:
        return self._cells.get((namespace, at.kind, at.key), {}).get(at.field)

    def fields(self, namespace: str, kind: Kind, key: str) -> Mapping[str, CellValue]:
        return self._cells.get((namespace, kind, key), {})

    def put(self, namespace: str, at: CellKey, value: CellValue | None, *, expires_here: bool) -> None:
        """Replaces a cell; None, or an element without dots, drops it.

        `expires_here`: if the value has an expiry, it is this region's to purge it.
        """
        if isinstance(value, Dots) and not value:
            value = None
        self._sum(namespace, at, self.get(namespace, at), value)
        self._keep(namespace, at, value)
        place = (namespace, at)
        if (isinstance(value, Envelope) and value.removed) or (isinstance(value, Dots) and value.removed):
            self.graves[place] = None
        else:
            self.graves.pop(place, None)
        if isinstance(value, Envelope) and value.expiry_ms and not value.removed and expires_here:
            self.expiries[place] = value.expiry_ms
        else:
            self.expiries.pop(place, None)

    def namespaces(self) -> tuple[str, ...]:
        return tuple(sorted({namespace for namespace, _, _ in self._cells}))

    def keys(self, namespace: str, kind: Kind) -> Iterator[str]:
        return (key for ns, its_kind, key in self._cells if (ns, its_kind) == (namespace, kind))

    def digests(self, namespace: str) -> Mapping[int, BucketDigest]:
        return dict(self._digests.get(namespace, {}))

    def bucket(self, namespace: str, bucket: int) -> Iterator[tuple[CellKey, CellValue]]:
        """All cells of a bucket, in order."""
        for kind, key in sorted(self._index.get((namespace, bucket), ())):
            for field, value in sorted(self._cells[namespace, kind, key].items()):
                yield CellKey(kind, key, field), value

    def _sum(self, namespace: str, at: CellKey, old: CellValue | None, new: CellValue | None) -> None:
        bucket = bucket_of(at.kind, at.key)
        digests = self._digests.setdefault(namespace, {})
        before = digests.get(bucket, NO_DIGEST)
        minus = NO_DIGEST if old is None else digest_of(at, old)
        plus = NO_DIGEST if new is None else digest_of(at, new)
        after = BucketDigest(
            before.live - minus.live + plus.live, before.removed - minus.removed + plus.removed
        )
        if after == NO_DIGEST:
            digests.pop(bucket, None)
        else:
            digests[bucket] = after

    def _keep(self, namespace: str, at: CellKey, value: CellValue | None) -> None:
        key = (namespace, at.kind, at.key)
        place = (namespace, bucket_of(at.kind, at.key))
        if value is not None:
            self._cells.setdefault(key, {})[at.field] = value
            self._index.setdefault(place, set()).add((at.kind, at.key))
            return
        fields = self._cells.get(key, {})
        fields.pop(at.field, None)
        if not fields:
            self._cells.pop(key, None)
            self._index.get(place, set()).discard((at.kind, at.key))
