"""What several test files share: one run of three regions takes most of a minute to start."""

from collections.abc import Iterator

import pytest
from tests.integration.regions import Run, checkout

NAMESPACES = """
[namespaces.notes]
level = "session"
[namespaces.stock]
level = "strong"
"""

SCARCE = """
# A service with two replicas in each region, and few places: 16 requests at once a region.
[services.scarce]
route_prefix = "/scarce"
import_path = "atoll_services.quote.app:app"
timeout = "15s"

[services.scarce.replicas]
minimum = 2
maximum = 2
target_in_flight = 4
max_in_flight = 8
"""


@pytest.fixture(scope="package")
def residency_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`residency.toml` on real Ray clusters, with some state and a service that is soon full."""
    with checkout(tmp_path_factory.mktemp("live")) as made:
        topology = made.folder / "infra" / "topologies" / "residency.toml"
        topology.write_text(topology.read_text() + NAMESPACES + SCARCE)
        made.must("up", "--detach", "--topology", "infra/topologies/residency.toml")
        yield made
