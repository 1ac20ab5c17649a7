"""Overrides stay as small as what moto lacks: one that is not needed any more is a failed test."""

import pytest
from tests.infra.cloud import Cloud
from tests.infra.overrides import OVERRIDES, Override


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda override: f"{override.module}-{override.name}")
def test_it_is_still_needed(cloud: Cloud, override: Override) -> None:
    from botocore.exceptions import ClientError
    from botocore.parsers import ResponseParserError

    try:
        has = override.has(cloud)
    except (ClientError, ResponseParserError):  # the latter where the answer is an error's page
        has = False
    assert not has, f"moto has {override.lacks} now: the override goes"
