"""What is here runs side by side, and without Ray. What starts Ray clusters is in `live/`: one test after another."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from atoll.cell import client, run
from atoll.cell.ray_head import RayHead

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def without_ray() -> Iterator[None]:
    """Whoever starts a region gets one that is whole but for Ray."""
    with pytest.MonkeyPatch.context() as patch:
        path = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), *filter(None, [path]))))
        patch.setattr(run, "WARDEN", "tests.integration.warden_without_ray")
        patch.setattr(client, "SUPERVISOR", "tests.integration.supervisor_without_ray")
        patch.setattr(RayHead, "start", _refused)
        yield


async def _refused(*_: object) -> NoReturn:
    pytest.fail("a test that starts Ray has its place in tests/integration/live")
