from pathlib import Path

import pytest
from tests.unit.serve_documents import importing, wanted

from atoll.serve.store import SetStore, SetStoreError

A = wanted()
B = importing(A, "one", "shop:b")
C = importing(A, "one", "shop:c")


@pytest.fixture
def store(tmp_path: Path) -> SetStore:
    return SetStore(tmp_path / "applied.json", tmp_path / "good.json")


def test_nothing_is_kept_at_first(store: SetStore) -> None:
    assert store.applied() is None
    assert store.good() is None
    assert store.rollback_target() is None


def test_after_a_failure_the_way_back_is_the_last_set_that_ran(store: SetStore) -> None:
    store.save_applied(A)
    store.save_good(A)
    store.save_applied(B)
    assert store.applied() == B
    assert store.rollback_target() == A


def test_after_a_success_the_way_back_is_the_set_before(store: SetStore) -> None:
    for given in (A, B, C):
        store.save_applied(given)
        store.save_good(given)
    assert store.good() == C
    assert store.rollback_target() == B


def test_back_at_the_set_before_there_is_nothing_further(store: SetStore) -> None:
    for given in (A, B, A):
        store.save_applied(given)
        store.save_good(given)
    assert store.good() == A
    assert store.rollback_target() is None


def test_the_same_set_again_changes_nothing(store: SetStore) -> None:
    for given in (A, B, B):
        store.save_applied(given)
        store.save_good(given)
    assert store.rollback_target() == A


def test_a_failed_first_set_leaves_no_way_back(store: SetStore) -> None:
    store.save_applied(A)
    assert store.rollback_target() is None


def test_a_damaged_file_is_named(store: SetStore, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('{"good": ')
    with pytest.raises(SetStoreError, match=r"good\.json holds no Serve application set"):
        store.good()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetStoreError, match=r"can't be kept in .*gone"):
        SetStore(tmp_path / "gone" / "a.json", tmp_path / "gone" / "g.json").save_applied(A)
