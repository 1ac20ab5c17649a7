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


@pytest.fixture(scope="package")
def residency_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`residency.toml` on real Ray clusters, with some state."""
    with checkout(tmp_path_factory.mktemp("live")) as made:
        topology = made.folder / "infra" / "topologies" / "residency.toml"
        topology.write_text(topology.read_text() + NAMESPACES)
        made.must("up", "--detach", "--topology", "infra/topologies/residency.toml")
        yield made
