"""For tests that are not about time limits: gateways that leave a busy machine all the time it takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.integration.gateways import TOPOLOGY

from atoll_gateway import gateway
from atoll_gateway.upstream import PoolSettings

PATIENT = TOPOLOGY.replace('timeout = "3s"', 'timeout = "30s"').replace('silence = "2s"', 'silence = "30s"')
"""No request runs out of time, and no region that lives is taken for dead."""

PATIENT_POOL = PoolSettings(connect_timeout_s=60.0, acquire_timeout_s=60.0)


@contextmanager
def patience() -> Iterator[None]:
    """Gateways wait for a connection, be it to a replica or to another gateway, as long as it takes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("REPLICA_POOL", "PEER_POOL"):
            usual: PoolSettings = getattr(gateway, name)
            patch.setattr(gateway, name, replace(usual, connect_timeout_s=60.0, acquire_timeout_s=60.0))
        yield
