"""Takes up a changed topology file while the gateway runs; refuses a bad one and keeps the old."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atoll.topology import SuccessionError, Topology, TopologyError, check_succession, load, parse, read
from atoll.topology.wiring import (
    GatewayWiring,
    WiringError,
    file_stamp,
    read_gateway_wiring,
    write_private,
)

log = logging.getLogger("atoll.gateway.topology")


@dataclass(frozen=True, slots=True)
class ReloadStatistics:
    """How often the file was taken up or refused, and why it is refused now (None if it is in force)."""

    accepted: int
    refused: int
    error: str | None


class TopologyFile:
    """Watches one topology file by its identity, size and time of change; `poll` costs one `stat`.

    What was taken up is kept beside the gateway's other state: one that starts anew after a bad edit then runs on what
    the others run on.
    """

    def __init__(
        self, path: Path, kept: Path, *, limit: int | None = None, running: frozenset[str] | None = None
    ) -> None:
        """Reads the file, or what is kept if that can't be used. Raises `TopologyError` if neither makes a topology.

        `limit` is how many of its regions are run; None means all. `running` are the regions that there are addresses
        for: a topology with others does not follow. None: those of the topology that is in force.
        """
        self._path = path
        self._kept = kept
        self._limit = limit
        self._running = running
        self._again = False
        self._stamp = self._seen = file_stamp(path)
        self._accepted = 0
        self._refused = 0
        self._error: str | None = None
        before = self._load_kept()
        try:
            self.current = self._take(before)
        except (TopologyError, SuccessionError) as error:
            if before is None:
                raise
            self._refuse(error)
            self.current = before

    def poll(self, accept: Callable[[Topology], None]) -> None:
        """Looks once whether the file has changed, and takes it up or refuses it. `accept` is given what differs.

        Not before two looks have found it the same: a file that is half written may make a sound topology too.
        """
        stamp, before = file_stamp(self._path), self._seen
        self._seen = stamp
        if (stamp == self._stamp and not self._again) or stamp != before:
            return
        self._again = False
        self._stamp = stamp
        try:
            candidate = self._take(self.current)
        except (TopologyError, SuccessionError) as error:
            self._refuse(error)
            return
        self._error = None
        if candidate.digest == self.current.digest:
            return
        self.current = candidate
        self._accepted += 1
        accept(candidate)
        log.info("topology taken up", extra={"revision": candidate.revision, "digest": candidate.digest[:12]})

    def rewire(self, path: Path, running: frozenset[str], limit: int | None) -> None:
        """Another file counts, or other regions run now or are about to; it is looked at anew at the next `poll`."""
        self._path = path
        self._running = running
        self._limit = limit
        self._again = True

    def statistics(self) -> ReloadStatistics:
        """A snapshot."""
        return ReloadStatistics(self._accepted, self._refused, self._error)

    def _take(self, before: Topology | None) -> Topology:
        text = read(self._path)
        candidate = parse(text, self._path, regions=self._limit)
        if before is not None:
            check_succession(before, candidate, self._running)
        try:
            write_private(self._kept, text.encode())
        except OSError as error:  # serving is worth more than what a later restart may miss
            log.warning("topology is not kept", extra={"file": str(self._kept), "reason": str(error)})
        return candidate

    def _load_kept(self) -> Topology | None:
        if not self._kept.exists():
            return None
        try:
            return load(self._kept, regions=self._limit)
        except TopologyError as error:
            log.warning("the kept topology is not usable", extra={"reason": str(error)})
            return None

    def _refuse(self, error: Exception) -> None:
        self._refused += 1
        self._error = str(error)
        log.warning("topology refused", extra={"file": str(self._path), "reason": str(error)})


class WiringFile:
    """Watches a gateway's wiring: who starts and ends regions writes it anew when the others' addresses change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = file_stamp(path)

    def poll(self, accept: Callable[[GatewayWiring], None]) -> None:
        """Looks once whether the file has changed. It is written whole or not at all."""
        stamp = file_stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            accept(read_gateway_wiring(self._path))
        except WiringError as error:
            log.warning("wiring refused", extra={"reason": str(error)})
