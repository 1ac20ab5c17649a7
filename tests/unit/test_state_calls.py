"""What a store's errors mean to its callers, and the function library as text."""

from importlib.resources import files

import pytest
from redis import exceptions

from atoll.state.errors import Refusal, StateError, StoreBroken, StoreFull, StoreRefused, StoreUnavailable
from atoll.state.opening import PARTS, state_library
from atoll.state.valkey_calls import told


@pytest.mark.parametrize("refusal", Refusal)
def test_a_refusal_of_the_functions_is_told_by_its_first_word(refusal: Refusal) -> None:
    error = told(exceptions.ResponseError(f"{refusal} why it refuses"), sent=True)
    assert isinstance(error, StoreRefused)
    assert (error.refusal, error.detail) == (refusal, "why it refuses")


@pytest.mark.parametrize(
    ("raised", "meaning", "says"),
    [
        (exceptions.AuthenticationError("invalid password"), StoreRefused, "being opened"),
        (exceptions.NoPermissionError("no permission"), StoreRefused, "being opened"),
        (exceptions.ResponseError("Function not found"), StoreRefused, "not loaded"),
        (exceptions.OutOfMemoryError("command not allowed"), StoreFull, "maxmemory"),
        (
            exceptions.ConnectionError("Connection closed by server."),
            StoreUnavailable,
            "may have been carried out",
        ),
        (exceptions.TimeoutError("Timeout reading"), StoreUnavailable, "may have been carried out"),
        (exceptions.BusyLoadingError("loading"), StoreUnavailable, "may have been carried out"),
        (ConnectionRefusedError("refused"), StoreUnavailable, "may have been carried out"),
        (exceptions.ResponseError("BROKEN attempt to index a nil value"), StoreBroken, "report it"),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), StoreBroken, "report it"),
    ],
)
def test_every_other_error_says_what_happened_and_what_to_do(
    raised: Exception, meaning: type[StateError], says: str
) -> None:
    error = told(raised, sent=True)
    assert type(error) is meaning
    assert says in str(error)


def test_what_was_not_sent_was_not_done() -> None:
    error = told(exceptions.ConnectionError("refused"), sent=False)
    assert isinstance(error, StoreUnavailable) and not error.sent and "nothing was done" in str(error)


def test_the_library_has_all_its_files() -> None:
    folder = files("atoll.state") / "library"
    assert {f"{part}.lua" for part in PARTS} == {file.name for file in folder.iterdir()}
    code = state_library().code
    assert code.startswith("#!lua name=atoll_state_1\n")
    for part in PARTS:
        assert (folder / f"{part}.lua").read_text() in code
