"""One run of three regions for all drills here: it takes most of a minute to start."""

from collections.abc import Iterator

import pytest
from tests.integration.regions import Run, checkout


@pytest.fixture(scope="session")
def local_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`local.toml` on real Ray clusters."""
    with checkout(tmp_path_factory.mktemp("drills")) as made:
        made.must("up", "--detach", within_s=300.0)
        yield made
