"""What may be sent again."""

import pytest

from atoll.resilience import Replay, replay


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
def test_idempotent_methods_may_be_repeated(method: str) -> None:
    assert replay(method, bytes_left=True, refused=False) is Replay.IDEMPOTENT


@pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "get", "PROPFIND", ""])
def test_of_any_other_the_outcome_is_unknown_once_bytes_left(method: str) -> None:
    decision = replay(method, bytes_left=True, refused=False)
    assert decision is Replay.OUTCOME_UNKNOWN
    assert not decision.allowed


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_whatever_never_left_or_was_refused_may_be_sent_again(method: str) -> None:
    assert replay(method, bytes_left=False, refused=False) is Replay.NEVER_LEFT
    assert replay(method, bytes_left=True, refused=True) is Replay.NOT_EXECUTED
    assert replay(method, bytes_left=True, refused=True).allowed
