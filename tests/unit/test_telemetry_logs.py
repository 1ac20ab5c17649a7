"""Structured logs and the access log."""

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from atoll.clock import ManualClock
from atoll.telemetry.logs import REMOVED, AccessLog, JsonFormatter, configure


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(stream, logging.INFO, static={"process": "eu-west/gateway-1"})
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_record_is_one_line_of_json_with_what_extra_says(stream: io.StringIO) -> None:
    logging.getLogger("atoll.peers").info("peer is %s", "down", extra={"region": "eu-west", "silent_s": 1.6})
    (line,) = lines(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "atoll.peers",
        "process": "eu-west/gateway-1",
        "message": "peer is down",
        "region": "eu-west",
        "silent_s": 1.6,
    }


def test_the_level_holds(stream: io.StringIO) -> None:
    logging.getLogger("atoll").debug("not this")
    assert stream.getvalue() == ""


def test_configuring_again_replaces_what_was(stream: io.StringIO) -> None:
    other = io.StringIO()
    configure(other, "WARNING")
    logging.getLogger("atoll").warning("once")
    assert stream.getvalue() == ""
    assert [line["message"] for line in lines(other.getvalue())] == ["once"]


def test_line_breaks_in_a_message_make_no_second_line(stream: io.StringIO) -> None:
    logging.getLogger("atoll").info('forged"\n{"level": "info"}\u2028')
    assert len(lines(stream.getvalue())) == 1


def test_secrets_and_bodies_stay_out(stream: io.StringIO) -> None:
    logging.getLogger("atoll").info(
        "hello", extra={"peer_token": "s3cr3t", "Authorization": "Bearer s3cr3t", "body": b"s3cr3t"}
    )
    (line,) = lines(stream.getvalue())
    assert "s3cr3t" not in stream.getvalue()
    assert (line["peer_token"], line["Authorization"], line["body"]) == (REMOVED, REMOVED, "6 bytes")


def test_an_exception_is_told_in_the_same_line(stream: io.StringIO) -> None:
    try:
        raise OSError("disk full")  # noqa: TRY301  # it is about a log with a traceback
    except OSError:
        logging.getLogger("atoll").exception("write failed")
    (line,) = lines(stream.getvalue())
    assert line["exception"].endswith("OSError: disk full")


def test_time_is_utc_with_milliseconds() -> None:
    record = logging.makeLogRecord({"created": 1_700_000_000.2509, "msg": "hello"})
    assert json.loads(JsonFormatter().format(record))["time"] == "2023-11-14T22:13:20.250Z"


class Sink:
    """Takes what is written."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.threads: set[int] = set()
        self.written = threading.Event()

    def write(self, batch: bytes) -> None:
        self.batches.append(batch)
        self.threads.add(threading.get_ident())
        self.written.set()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return lines(b"".join(self.batches).decode())


def note(log: AccessLog, request_id: str = "r-1", path: str | None = "/quote/best") -> None:
    log.record(
        request_id=request_id,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        client="198.51.100.7",
        method="GET",
        path=path,
        service="quote",
        region="eu-west",
        attempts=2,
        status=200,
        bytes_in=0,
        bytes_out=512,
        duration_s=0.0123456,
    )


def test_a_request_is_one_line() -> None:
    sink = Sink()
    log = AccessLog(sink.write, ManualClock())
    note(log, path='/quote/"\n\u00e9')
    assert sink.batches == []
    log.flush()
    assert sink.lines == [
        {
            "time": "2023-11-14T22:13:20.000Z",
            "request_id": "r-1",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "client": "198.51.100.7",
            "method": "GET",
            "path": '/quote/"\n\u00e9',
            "service": "quote",
            "region": "eu-west",
            "attempts": 2,
            "status": 200,
            "bytes_in": 0,
            "bytes_out": 512,
            "duration_ms": 12.346,
        }
    ]
    assert sink.batches[0].count(b"\n") == 1


def test_a_path_that_must_not_be_logged_is_null() -> None:
    sink = Sink()
    log = AccessLog(sink.write, ManualClock())
    note(log, path=None)
    log.flush()
    assert sink.lines[0]["path"] is None


def test_off_is_off() -> None:
    log = AccessLog(None, ManualClock())
    note(log)
    log.flush()
    assert not log.enabled
    assert log.statistics().waiting == 0


def test_what_is_too_much_is_dropped_and_counted() -> None:
    sink = Sink()
    log = AccessLog(sink.write, ManualClock(), limit=2)
    for n in range(5):
        note(log, f"r-{n}")
    log.flush()
    assert [line["request_id"] for line in sink.lines] == ["r-0", "r-1"]
    statistics = log.statistics()
    assert (statistics.written, statistics.dropped, statistics.waiting) == (2, 3, 0)


def test_a_full_disk_costs_lines_only() -> None:
    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    log = AccessLog(full, ManualClock())
    note(log)
    log.flush()
    assert (log.statistics().written, log.statistics().dropped) == (0, 1)


async def test_a_full_batch_is_written_at_once_and_in_another_thread() -> None:
    sink = Sink()
    log = AccessLog(sink.write, ManualClock(), interval_s=3600, batch=3)
    running = asyncio.create_task(log.run())
    for n in range(3):
        note(log, f"r-{n}")
    assert await asyncio.to_thread(sink.written.wait, 10)
    assert [line["request_id"] for line in sink.lines] == ["r-0", "r-1", "r-2"]
    assert threading.get_ident() not in sink.threads
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_lone_line_is_written_after_the_interval() -> None:
    sink = Sink()
    log = AccessLog(sink.write, ManualClock(), interval_s=0.01)
    running = asyncio.create_task(log.run())
    note(log)
    assert await asyncio.to_thread(sink.written.wait, 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(sink.lines) == 1


async def test_the_end_loses_nothing_and_keeps_the_order() -> None:
    held = threading.Event()
    started = threading.Event()
    sink = Sink()

    def slow(batch: bytes) -> None:
        if not started.is_set():  # the first batch, and it alone, is slow
            started.set()
            held.wait(10)
        sink.write(batch)

    log = AccessLog(slow, ManualClock(), interval_s=3600, batch=1)
    running = asyncio.create_task(log.run())
    note(log, "first")
    assert await asyncio.to_thread(started.wait, 10)
    note(log, "second")
    running.cancel()
    asyncio.get_running_loop().call_later(0.01, held.set)
    await asyncio.gather(running, return_exceptions=True)
    assert [line["request_id"] for line in sink.lines] == ["first", "second"]
    assert log.statistics().written == 2
