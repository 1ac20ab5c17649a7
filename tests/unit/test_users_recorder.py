import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.drills.record import REQUEST, Request, Way
from loadtests.users.recorder import Recorder, RecorderError

TEXT = st.text(max_size=20)
REQUESTS = st.builds(
    Request,
    due_s=st.floats(0, 1e6),
    sent_s=st.floats(0, 1e6),
    ended_s=st.floats(0, 1e6),
    name=TEXT,
    service=TEXT,
    country=TEXT,
    way=st.sampled_from(Way),
    status=st.none() | st.integers(100, 599),
    error=TEXT,
    region=TEXT,
    attempts=st.integers(0, 9),
    replayable=st.booleans(),
    key=TEXT,
    tries=st.integers(1, 9),
    write=TEXT,
)


@given(st.lists(REQUESTS, max_size=10))
@settings(max_examples=50)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, requests: list[Request]
) -> None:
    file = tmp_path_factory.mktemp("requests") / "requests.jsonl"
    recorder = Recorder(file)
    for number, request in enumerate(requests, 1):
        recorder(request)
        assert file.read_bytes().count(b"\n") == number, "each line is there at once, and is one line"
    recorder.close()
    assert [REQUEST.validate_json(line) for line in file.read_bytes().splitlines()] == requests


def test_a_second_load_is_written_after_the_first(tmp_path: Path) -> None:
    request = Request(
        1.0, 1.0, 2.0, "GET /quote", "quote", "IE", Way.DNS, 200, "", "eu-west", 1, replayable=True
    )
    for _ in range(2):
        recorder = Recorder(tmp_path / "requests.jsonl")
        recorder(request)
        recorder.close()
    assert len((tmp_path / "requests.jsonl").read_text().splitlines()) == 2


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match=f"{tmp_path}{os.sep}no/file can't be written: No such file"):
        Recorder(tmp_path / "no" / "file")
