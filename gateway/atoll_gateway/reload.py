"""Takes up a changed topology file while the gateway runs; refuses a bad one and keeps the old."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atoll.topology import Topology, TopologyError, load
from atoll.topology.reduce import first_regions

log = logging.getLogger("atoll.gateway.topology")


@dataclass(frozen=True, slots=True)
class ReloadStatistics:
    """How often the file was taken up or refused, and why it is refused now (None if it is in force)."""

    accepted: int
    refused: int
    error: str | None


def load_part(path: Path, limit: int | None) -> Topology:
    """Loads a topology file, or its first `limit` regions. Raises `TopologyError`."""
    topology = load(path)
    return topology if limit is None else first_regions(topology, limit)


class TopologyFile:
    """Watches one topology file by its identity, size and time of change; `poll` costs one `stat`."""

    def __init__(
        self, path: Path, current: Topology, accept: Callable[[Topology], None], *, limit: int | None = None
    ) -> None:
        self._path = path
        self._current = current
        self._accept = accept
        self._limit = limit
        self._stamp = self._seen = _stamp(path)
        self._accepted = 0
        self._refused = 0
        self._error: str | None = None

    def poll(self) -> None:
        """Looks once whether the file has changed, and takes it up or refuses it.

        Not before two looks have found it the same: a file that is half written may make a sound topology too.
        """
        stamp, before = _stamp(self._path), self._seen
        self._seen = stamp
        if stamp == self._stamp or stamp != before:
            return
        self._stamp = stamp
        try:
            candidate = load_part(self._path, self._limit)
            self._check_succession(candidate)
        except (TopologyError, SuccessionError) as error:
            self._refused += 1
            self._error = str(error)
            log.warning("topology refused", extra={"file": str(self._path), "reason": str(error)})
            return
        self._error = None
        if candidate.digest == self._current.digest:
            return
        self._current = candidate
        self._accepted += 1
        self._accept(candidate)
        log.info("topology taken up", extra={"revision": candidate.revision, "digest": candidate.digest[:12]})

    def _check_succession(self, candidate: Topology) -> None:
        current = self._current
        if candidate.name != current.name:
            raise SuccessionError(f"the file is now named {candidate.name!r}, this run is {current.name!r}")
        if candidate.revision < current.revision:
            raise SuccessionError(
                f"revision {candidate.revision} is older than {current.revision}, which is in force; count it up"
            )
        if candidate.regions.keys() != current.regions.keys():
            changed = ", ".join(sorted(candidate.regions.keys() ^ current.regions.keys()))
            raise SuccessionError(
                f"regions were added or removed ({changed}); a running gateway has no address for them: "
                "`atoll down`, then `atoll up`"
            )

    def statistics(self) -> ReloadStatistics:
        """A snapshot."""
        return ReloadStatistics(self._accepted, self._refused, self._error)


class SuccessionError(Exception):
    """A sound topology that can't follow the one in force."""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
