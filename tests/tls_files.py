"""An authority and certificates, as files, for tests of mutual TLS."""

import time
from dataclasses import dataclass
from pathlib import Path

from atoll.certificates import Issued, issue, make_authority, open_authority
from atoll.topology.wiring import TlsFiles, write_private

DOMAIN = "atoll.test"
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs at the present time; `lasting_s` is how long a certificate holds."""

    made: Issued

    @classmethod
    def new(cls, domain: str = DOMAIN) -> "Signer":
        return cls(make_authority(domain, time.time(), 365))

    @property
    def certificate(self) -> bytes:
        return self.made.certificate

    def issue(self, region: str, lasting_s: float = 30 * DAY_S, now: float | None = None) -> Issued:
        opened = open_authority(self.made.certificate, self.made.key)
        return issue(opened, region, time.time() if now is None else now, lasting_s / DAY_S)

    def expired(self, region: str) -> Issued:
        return self.issue(region, lasting_s=60.0, now=time.time() - 3600.0)


def files_in(folder: Path, domain: str = DOMAIN) -> TlsFiles:
    """Where they are; nothing is written."""
    return TlsFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem", domain)


def write_tls(folder: Path, issued: Issued, authorities: bytes) -> TlsFiles:
    """Puts them there, each at once."""
    folder.mkdir(exist_ok=True, parents=True)
    files = files_in(folder)
    write_private(files.ca, authorities)
    write_private(files.cert, issued.certificate)
    write_private(files.key, issued.key)
    return files
