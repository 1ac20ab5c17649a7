"""Writes what users saw to a file: one JSON `Request` a line, each line whole and there at once."""

from pathlib import Path

from loadtests.drills.record import REQUEST, Request


def began_file(requests: Path) -> Path:
    """Beside a file of requests: when the load began, in seconds of the machine's monotonic clock."""
    return requests.with_suffix(".began")


class RecorderError(Exception):
    """The file can't be written; says which one and why."""


class Recorder:
    """Appends to a file, which a drill follows meanwhile."""

    def __init__(self, path: Path) -> None:
        """Raises `RecorderError`."""
        try:
            # Unbuffered: a line is one write, so who follows the file never sees half of one for long.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise RecorderError(f"{path} can't be written: {error.strerror}; name another file") from error

    def __call__(self, request: Request) -> None:
        self._file.write(REQUEST.dump_json(request) + b"\n")

    def close(self) -> None:
        self._file.close()
