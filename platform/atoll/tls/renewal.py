"""A process's side of mutual TLS: takes up renewed files while it runs, and tells when the certificate ends."""

import logging
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.tls.identity import Certificate, Role, check_peer, server_name
from atoll.tls.material import TlsError, read_material
from atoll.topology.wiring import FileStamp, TlsFiles, file_stamp

MAX_AGE_S = 3600.0
"""How long a connection is used before another one is made: after a rotation that long, nobody shows the old
certificate any more. A handshake an hour costs nothing that can be measured."""
WARN_DAYS = 14.0
"""A certificate that ends sooner should have been renewed: they are issued for 90 days."""
DAY_S = 86_400.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Toward:
    """How to call somebody: with which context, and the name that their certificate must hold."""

    context: ssl.SSLContext
    name: str


@dataclass(frozen=True, slots=True)
class Calling:
    """What it takes to call somebody again and again."""

    toward: Callable[[], Toward]
    """For the next connection."""
    max_age_s: float
    """How long a connection may be used."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What a listener needs of TLS."""

    context: Callable[[], ssl.SSLContext]
    """For the next handshake."""
    check: Callable[[Certificate | None, str], None]
    """Whether a certificate speaks for who says to be there (``REGION`` or ``REGION/process``). Raises `Stranger`."""
    max_age_s: float
    """How long a connection may be used; those who call give it up in half that time by themselves."""


@dataclass(frozen=True, slots=True)
class TlsStatistics:
    """A snapshot."""

    names: tuple[str, ...]
    expires: float
    """Unix time."""
    days_left: float
    taken: int
    """Times that changed files were taken up, or refused."""
    refused: int
    error: str | None
    """Why the files as they are now are not in force, if they aren't."""


class CellTls:
    """One a process."""

    def __init__(
        self, files: TlsFiles, role: Role, region: str, clock: Clock, *, max_age_s: float = MAX_AGE_S
    ) -> None:
        """Raises `TlsError` if the files can't be used. That the certificate has ended is told, and no more: it costs
        the links to other cells, and the region should serve on.
        """
        self._max_age_s = max_age_s
        self._files = files
        self._name = server_name(role, region, files.domain)
        self._clock = clock
        self._stamp = self._seen = _stamp(files)
        self._material = read_material(files, self._name, even_expired=True)
        self._taken = 0
        self._refused = 0
        self._error: str | None = None
        self._warn_at = clock.monotonic()
        self._tell_end()

    def calling(self, role: Role, region: str) -> Calling:
        """For connections to a region's gateways, or to its agent."""
        name = server_name(role, region, self._files.domain)
        return Calling(lambda: Toward(self._material.client, name), self._max_age_s)

    def serving(self, known: Callable[[], Collection[str]]) -> Serving:
        """For a listener that takes connections from the regions that are `known` at the time."""

        def check(certificate: Certificate | None, claimed: str) -> None:
            check_peer(certificate, claimed, self._files.domain, known())

        return Serving(lambda: self._material.server, check, 2 * self._max_age_s)

    def poll(self) -> None:
        """Looks once whether a file has changed, and takes them up or refuses them. Costs three `stat`.

        Not before two looks have found them the same: they are replaced one after the other.
        """
        self._tell_end()
        stamp, before = _stamp(self._files), self._seen
        self._seen = stamp
        if stamp == self._stamp or stamp != before:
            return
        self._stamp = stamp
        try:
            self._material = read_material(self._files, self._name)
        except TlsError as error:
            self._refused += 1
            self._error = str(error)
            log.warning("the new certificate is refused, the old one stays", extra={"reason": str(error)})
            return
        self._taken += 1
        self._error = None
        self._warn_at = self._clock.monotonic()
        log.info("certificate taken up", extra={"days_left": round(self._days_left, 1)})
        self._tell_end()

    def statistics(self) -> TlsStatistics:
        material = self._material
        return TlsStatistics(
            material.names, material.expires, self._days_left, self._taken, self._refused, self._error
        )

    @property
    def _days_left(self) -> float:
        return (self._material.expires - self._clock.wall()) / DAY_S

    def _tell_end(self) -> None:
        """Once a day, while the end is near or past."""
        if self._days_left >= WARN_DAYS or self._clock.monotonic() < self._warn_at:
            return
        self._warn_at = self._clock.monotonic() + DAY_S
        fields = {"file": str(self._files.cert), "days_left": round(self._days_left, 1)}
        if self._days_left > 0:
            log.warning("the certificate ends soon; issue another with `atoll certificates`", extra=fields)
        else:
            log.error("the certificate has ended: other cells refuse every new connection", extra=fields)


def _stamp(files: TlsFiles) -> tuple[FileStamp | None, ...]:
    return tuple(file_stamp(path) for path in (files.cert, files.key, files.ca))
