"""Which class plays which part. The production classes, unless a test puts a broken one in the place of one of them."""

from collections.abc import Callable
from dataclasses import dataclass

from atoll.state.model import ModelStore
from atoll.state.replication import PRODUCTION as REPLICATION
from atoll.state.replication import ReplicationParts


@dataclass(frozen=True, slots=True)
class Parts:
    """What a simulated region is made of."""

    store: Callable[..., ModelStore] = ModelStore
    replication: ReplicationParts = REPLICATION


PRODUCTION = Parts()
