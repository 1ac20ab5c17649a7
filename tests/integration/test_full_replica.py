"""Replicas that say that they did nothing: full ones, and those whose region is behind the client's session.

Others may have filled a replica, so a second one is asked before the region counts as full.
"""

from pathlib import Path

import pytest
from tests.integration.gateways import World, client, world

from atoll.calls import ASK_ELSEWHERE
from atoll.resilience.lane import FULL_HOSTS
from atoll_gateway.layers import local

FULL = (503, b"Request dropped due to backpressure")
"""As Ray Serve says it."""


BEHIND = (503, ASK_ELSEWHERE + b', "status": 503}')
"""As Atoll's middleware in the replica says it."""


async def served(made: World, count: int = 12) -> set[tuple[int, str, str]]:
    """Status, region and attempts of as many writes, which nobody may repeat on their own account."""
    url = f"{made.url('eu-west')}/echo/mirror"
    async with client() as http:
        answers = [await http.post(url, content=b"buy") for _ in range(count)]
    return {
        (answer.status_code, answer.headers["atoll-region"], answer.headers["atoll-attempts"])
        for answer in answers
    }


async def test_a_full_replicas_sibling_serves_and_no_attempt_is_counted_twice(tmp_path: Path) -> None:
    async with world(tmp_path, replicas=2) as made:
        cell = made.cells["eu-west"]
        cell.replicas[0].says = FULL
        assert await served(made) == {(200, "eu-west", "1")}
        assert len(cell.replicas[0].seen) > 0, "it was asked, and took nothing"
        assert cell.gateway.replicas.live("echo") == 2, "who is full is not ejected for it"


async def test_control_if_one_counted_for_all_its_requests_would_leave_the_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "FULL_HOSTS", 1)
    async with world(tmp_path, replicas=2) as made:
        made.cells["eu-west"].replicas[0].says = FULL
        assert (200, "us-east", "2") in await served(made)


async def test_under_overload_two_are_asked_and_not_all(tmp_path: Path) -> None:
    async with world(tmp_path, replicas=4) as made:
        replicas = made.cells["eu-west"].replicas
        for replica in replicas:
            replica.says = FULL
        assert await served(made, 5) == {(200, "us-east", "2")}
        assert sum(len(replica.seen) for replica in replicas) == 5 * FULL_HOSTS


async def test_a_region_with_one_replica_is_full_when_that_is(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.cells["eu-west"].replicas[0].says = FULL
        assert await served(made, 3) == {(200, "us-east", "2")}
        assert len(made.seen("eu-west")) == 3


async def test_a_region_that_is_behind_the_session_passes_the_request_on_and_is_not_blamed(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, replicas=2) as made:
        cell = made.cells["eu-west"]
        for replica in cell.replicas:
            replica.says = BEHIND
        assert await served(made) == {(200, "us-east", "2")}
        assert cell.gateway.replicas.live("echo") == 2
        for replica in cell.replicas:
            replica.says = None
        assert await served(made) == {(200, "eu-west", "1")}, "no breaker is open, nothing is ejected"
