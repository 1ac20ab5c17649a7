"""What several test files share: one run of three regions takes most of a minute to start."""

from collections.abc import Iterator

import pytest
from tests.integration.regions import Run, checkout


@pytest.fixture(scope="package")
def residency_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`residency.toml` on real Ray clusters."""
    with checkout(tmp_path_factory.mktemp("live")) as made:
        made.must("up", "--detach", "--topology", "infra/topologies/residency.toml")
        yield made
