"""Shows what the processes log: all of them, a region's, or one. Works after `atoll down` too."""

import argparse
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from atoll.cell.paths import RunPaths
from atoll.cli.exits import CommandError, Exit
from atoll.cli.run import here

POLL_S = 0.25
_CHUNK = 64 * 1024


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="REGION, REGION/PROCESS (eu-west/gateway-1), or supervisor, links, entry; everything by default",
    )
    parser.add_argument(
        "--follow", "-f", action="store_true", help="go on printing what is added, until Ctrl-C"
    )
    parser.add_argument(
        "--lines",
        "-n",
        type=_count,
        default=20,
        metavar="N",
        help="last lines of each file first (default: 20)",
    )


def run(arguments: argparse.Namespace) -> Exit:
    files = find(here(), arguments.target)
    tails = [Tail(path, f"{label} | " if len(files) > 1 else "") for label, path in files.items()]
    for tail in tails:
        for line in tail.last(arguments.lines):
            print(line)
    pause = threading.Event()
    while arguments.follow:
        for tail in tails:
            for line in tail.added():
                print(line, flush=True)
        pause.wait(POLL_S)
    return Exit.SUCCESS


def find(paths: RunPaths, target: str | None) -> dict[str, Path]:
    """Label -> log file, in alphabetical order. Raises `CommandError` if there is none."""
    known = {
        str(path.relative_to(paths.logs).with_suffix("")): path
        for path in sorted(paths.logs.rglob("*.log"), key=lambda path: (len(path.parts), path))
    }
    if not known:
        raise CommandError(
            f"there are no logs in {paths.logs}: nothing has been started here yet; see `atoll up`"
        )
    if target is None:
        return known
    chosen = {label: path for label, path in known.items() if target in (label, label.partition("/")[0])}
    if not chosen:
        raise CommandError(f"no log of {target!r}; there are: {', '.join(known)}")
    return chosen


@dataclass(slots=True)
class Tail:
    """The end of a file that grows, may be cut short, and may be replaced. Half a line waits for its other half."""

    path: Path
    prefix: str = ""
    _offset: int = 0
    _identity: int = 0
    _half: bytes = field(default=b"", repr=False)

    def last(self, count: int) -> Iterator[str]:
        """The last `count` whole lines; `added` goes on behind them."""
        try:
            with self.path.open("rb") as file:
                status = self.path.stat()
                self._identity = status.st_ino
                end = file.seek(0, 2)
                block, start = b"", end
                while start > 0 and block.count(b"\n") <= count:
                    start = max(0, start - _CHUNK)
                    file.seek(start)
                    block = file.read(end - start)
        except FileNotFoundError:
            return
        whole, newline, self._half = block.rpartition(b"\n")
        self._offset = end
        if newline:
            yield from map(self._text, whole.split(b"\n")[-count:] if count else ())

    def added(self) -> Iterator[str]:
        """The whole lines that were added since the last call."""
        try:
            with self.path.open("rb") as file:
                status = self.path.stat()
                if status.st_ino != self._identity or status.st_size < self._offset:
                    self._identity, self._offset, self._half = status.st_ino, 0, b""
                file.seek(self._offset)
                fresh = file.read()
        except FileNotFoundError:
            return
        self._offset += len(fresh)
        *lines, self._half = (self._half + fresh).split(b"\n")
        yield from map(self._text, lines)

    def _text(self, line: bytes) -> str:
        return self.prefix + line.decode(errors="replace")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)
