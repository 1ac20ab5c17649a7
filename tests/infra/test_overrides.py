"""Overrides stay as small as what moto lacks: one that is not needed any more is a failed test."""

import pytest
from tests.infra.cloud import Cloud
from tests.infra.overrides import OVERRIDES, Override

ASKED = [override for override in OVERRIDES if override.ask is not None]


@pytest.mark.parametrize("override", ASKED, ids=lambda override: f"{override.module}-{override.name}")
def test_it_is_still_needed(cloud: Cloud, override: Override) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    assert override.ask is not None
    with pytest.raises((BotoCoreError, ClientError)):  # the former where the answer is an error's page
        override.ask(cloud)
