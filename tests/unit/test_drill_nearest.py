"""Whose region a fault touches is told by steering, whoever served them when they first came."""

from pathlib import Path

import pytest

from atoll.topology import load
from loadtests.drills.nearest import nearest

LOCAL = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"


@pytest.mark.parametrize(
    ("country", "region"),
    [("IE", "eu-west"), ("PL", "eu-west"), ("JP", "ap-northeast"), ("IN", "ap-northeast"), ("US", "us-east")],
)
def test_users_are_at_home_where_they_are_steered_to(country: str, region: str) -> None:
    assert nearest(load(LOCAL))[country] == region
