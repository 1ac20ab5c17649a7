"""What a region remembers of its state store beside it."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from atoll.state.marker import MarkerError, StoreMarker, ensure_marker, write_marker


def test_a_loss_is_an_empty_store_that_was_opened_before() -> None:
    first = StoreMarker("id")
    second = first.before().after("us-east.7", fresh=True, complete=False)
    assert second == StoreMarker("id", epoch=7)
    assert second.after("us-east.8", fresh=False, complete=False).losses == 0, (
        "not yet complete, but not empty"
    )
    assert second.after("us-east.8", fresh=True, complete=False).losses == 1
    interrupted = second.before()  # a crash after the store's epoch had begun, so it is not fresh any more
    assert interrupted.after("us-east.9", fresh=False, complete=False).losses == 1
    assert interrupted.after("us-east.9", fresh=False, complete=True).losses == 0
    assert first.before().after("us-east.9", fresh=False, complete=False).losses == 0


def test_a_marker_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "marker.json"
    first = ensure_marker(path)
    assert ensure_marker(path) == first
    assert ensure_marker(tmp_path / "other.json").identity != first.identity
    write_marker(path, first.after("us-east.7", fresh=True, complete=False))
    assert ensure_marker(path) == StoreMarker(first.identity, epoch=7)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_of_many_who_find_no_marker_all_get_one(tmp_path: Path) -> None:
    """The warden and the agent start side by side."""
    for number in range(50):
        path = tmp_path / f"{number}.json"
        together = Barrier(4)

        def ensure(path: Path = path, together: Barrier = together) -> StoreMarker:
            together.wait()
            return ensure_marker(path)

        with ThreadPoolExecutor(4) as pool:
            found = {future.result() for future in [pool.submit(ensure) for _ in range(4)]}
        assert len(found) == 1
    assert len(list(tmp_path.iterdir())) == 50, "nothing else is left"


def test_a_marker_that_can_t_be_read_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "marker.json"
    path.write_text("{")
    with pytest.raises(MarkerError, match="bring the file back"):
        ensure_marker(path)
    assert path.read_text() == "{"
