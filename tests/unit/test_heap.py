"""What is there when a process is up is not looked at again; what comes later is."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from atoll.heap import YOUNG, settle_heap


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Loop:
    """A cycle that only the collector can free."""

    def __init__(self) -> None:
        self.me = self


def test_only_what_comes_later_is_looked_at() -> None:
    settle_heap()
    assert gc.get_threshold()[0] == YOUNG
    assert gc.get_freeze_count() > 1000
    later = weakref.ref(Loop())
    gc.collect()
    assert later() is None
