"""Structured logs, one JSON object a line: what a process does (`configure`), its requests (`AccessLog`)."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote
from typing import TextIO

from atoll.clock import Clock

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_WORDS = ("authorization", "cookie", "password", "secret", "token")
REMOVED = "[removed]"


class JsonFormatter(logging.Formatter):
    """A record as a line of JSON: ``time``, ``level``, ``logger``, ``message``, what `extra` has,
    ``exception``.

    A safety net, not a licence: values under names that speak of a secret are left out, and bytes are told
    by their length alone, since they may be a body.
    """

    def __init__(self, static: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._static = dict(static or {})

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._static,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                line[name] = REMOVED if any(word in name.lower() for word in _SECRET_WORDS) else value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=_readable)


def configure(stream: TextIO, level: int | str, *, static: Mapping[str, str] | None = None) -> None:
    """Makes this process log to `stream` as JSON lines, in place of whatever it did before.

    For the main function of a process, once. `static` goes into every line, such as ``{"process":
    "eu-west/agent"}``. Say more with ``logger.info("peer is down", extra={"region": ...})``.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(static))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)


@dataclass(frozen=True, slots=True)
class AccessLogStatistics:
    """`dropped` lines were thrown away because writing did not keep up, or failed."""

    written: int
    dropped: int
    waiting: int


class AccessLog:
    """A line of JSON for each request, written in batches.

    `record` makes a line and keeps it; lines are written in `flush`, and by `run` every `interval_s` in a thread,
    sooner once `batch` lines wait, and a last time when it is cancelled. At most `limit` lines wait; more
    are dropped and counted, so a full disk costs lines and not the gateway. For one event loop; not for
    several threads.
    """

    __slots__ = (
        "_batch",
        "_clock",
        "_dropped",
        "_due",
        "_interval_s",
        "_limit",
        "_waiting",
        "_write",
        "_written",
    )

    def __init__(
        self,
        write: Callable[[bytes], object] | None,
        clock: Clock,
        *,
        interval_s: float = 0.5,
        batch: int = 1024,
        limit: int = 16384,
    ) -> None:
        """`write` takes whole lines (in a thread when `run` calls it); None switches the log off."""
        self._write = write
        self._clock = clock
        self._interval_s = interval_s
        self._batch = batch
        self._limit = limit
        self._waiting: list[str] = []
        self._due = asyncio.Event()
        self._written = 0
        self._dropped = 0

    @property
    def enabled(self) -> bool:
        return self._write is not None

    def record(
        self,
        request_id: str,
        trace_id: str,
        client: str | None,
        method: str,
        path: str | None,
        service: str | None,
        region: str | None,
        attempts: int,
        status: int,
        bytes_in: int,
        bytes_out: int,
        duration_s: float,
    ) -> None:
        """Notes a finished request. `request_id`, `trace_id` and `method` are checked already and written as they are.

        `path` is without its query, which may hold anything, and None where residency forbids this process
        to log it. `region` is the one that produced the answer.
        """
        if self._write is None:
            return
        waiting = self._waiting
        if len(waiting) >= self._limit:
            self._dropped += 1
            return
        # Made here and by hand: in a thread it would hold the interpreter all the same, and json.dumps takes several
        # times as long.
        at = self._clock.wall()
        second = int(at)
        waiting.append(
            f'{{"time":"{_second(second)}.{int((at - second) * 1000.0):03d}Z","request_id":"{request_id}"'
            f',"trace_id":"{trace_id}","client":{_text(client)},"method":"{method}","path":{_text(path)}'
            f',"service":{_text(service)},"region":{_text(region)},"attempts":{attempts},"status":{status}'
            f',"bytes_in":{bytes_in},"bytes_out":{bytes_out},"duration_ms":{duration_s * 1000.0:.3f}}}\n'
        )
        if len(waiting) == self._batch:
            self._due.set()

    def flush(self) -> None:
        """Writes all lines that wait. If that fails (`OSError`), they are dropped and counted."""
        if self._write is not None and (lines := self._take()):
            self._put(self._write, lines)

    async def run(self) -> None:
        """Writes batches until cancelled, then what is left."""
        write = self._write
        if write is None:
            return
        writing: asyncio.Future[None] | None = None
        try:
            while True:
                try:
                    async with asyncio.timeout(self._interval_s):
                        await self._due.wait()
                except TimeoutError:
                    pass
                self._due.clear()
                if lines := self._take():
                    writing = asyncio.ensure_future(asyncio.to_thread(self._put, write, lines))
                    await asyncio.shield(writing)
        finally:
            if writing is not None:
                await writing  # So that the last batch does not overtake one in a thread's hands.
            self.flush()

    def statistics(self) -> AccessLogStatistics:
        return AccessLogStatistics(self._written, self._dropped, len(self._waiting))

    def _take(self) -> list[str]:
        lines, self._waiting = self._waiting, []
        return lines

    def _put(self, write: Callable[[bytes], object], lines: list[str]) -> None:
        try:
            write("".join(lines).encode("ascii"))
        except OSError:
            self._dropped += len(lines)
        else:
            self._written += len(lines)


@lru_cache(maxsize=4)
def _second(at: int) -> str:
    """A second as RFC 3339 has it, without its fraction; the lines of a batch share it."""
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00")


def _text(value: str | None) -> str:
    return "null" if value is None else _quote(value)


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _readable(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes | bytearray | memoryview) else str(value)
