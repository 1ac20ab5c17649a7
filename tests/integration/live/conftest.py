"""What is here starts real Ray clusters, one test after another: several starts at once are too much for two cores."""

import os

import pytest


@pytest.fixture(scope="module", autouse=True)
def without_ray() -> None:
    """Not here; but alone."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail(
            "tests on real Ray clusters run one after another: `make live`, or pytest without --numprocesses"
        )
