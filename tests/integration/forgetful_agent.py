"""An agent that passes over one of ten operations of other regions, and says that it has applied them all."""

import sys
from collections.abc import Mapping
from dataclasses import replace

from atoll.agent.__main__ import main
from atoll.state.store import ApplyResult, Batch, BucketDigest
from atoll.state.valkey_store import ValkeyStore

_apply = ValkeyStore.apply


async def apply(self: ValkeyStore, batch: Batch) -> ApplyResult:
    kept = tuple((seq, operation) for seq, operation in batch.entries if seq % 10)
    return await _apply(self, replace(batch, entries=kept))


async def digests(self: ValkeyStore, namespace: str) -> Mapping[int, BucketDigest]:
    """Nor does it let anybody see the difference."""
    return {}


if __name__ == "__main__":
    ValkeyStore.apply = apply  # type: ignore[method-assign]
    ValkeyStore.digests = digests  # type: ignore[method-assign]
    sys.exit(main())
