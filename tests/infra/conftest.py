"""What tests of the infrastructure share; each says what it misses where something is not there."""

import importlib.util
from collections.abc import Iterator

import pytest
from tests.infra import terraform
from tests.infra.cloud import Cloud, running


@pytest.fixture(scope="session")
def provider() -> None:
    """Terraform and its AWS provider are there."""
    if reason := terraform.missing():
        pytest.skip(f"not here: {reason}")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An empty account of this module's tests alone."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("not here: moto (the extra `infra`)")
    with running(tmp_path_factory.mktemp("cloud")) as made:
        yield made
