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
    outlives_server: bool = False
    """Whether the agent's access to the store goes on with whatever data the server's next start has."""


PRODUCTION = Parts()
