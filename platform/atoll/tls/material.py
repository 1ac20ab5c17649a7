"""Certificate, key and authorities of a process: read from files, and proved before anything depends on them."""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from atoll.secrets import SecretError
from atoll.tls.identity import Certificate, dns_names
from atoll.topology.wiring import TlsFiles

EXPIRED = 10
"""OpenSSL's ``X509_V_ERR_CERT_HAS_EXPIRED``."""
_NO_CHECK_TIME = 0x200000
"""OpenSSL's ``X509_V_FLAG_NO_CHECK_TIME``, which the `ssl` module has no name for."""
_FLIGHTS = 4
"""A handshake of TLS 1.3 takes three."""


class TlsError(SecretError):
    """Files that TLS can't be done with; says which, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Material:
    """What connections are made with, until it changes."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    names: tuple[str, ...]
    expires: float
    """Unix time at which the certificate ends."""


def read_material(files: TlsFiles, name: str, *, even_expired: bool = False) -> Material:
    """Reads the files and shakes hands with itself: as `name`, in both roles, as the peers will do it.

    So a key of another certificate, one of another authority, for other names, for one role alone or out of its time
    is found here, not at the first connection. With `even_expired` that the certificate has ended is no error. Raises
    `TlsError`.
    """
    server = _context(ssl.PROTOCOL_TLS_SERVER, files)
    server.num_tickets = 0
    client = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    try:
        certificate = _proved(server, client, name, even_expired=even_expired)
    except ssl.SSLCertVerificationError as error:
        raise TlsError(
            f"{files.cert} would be refused by peers, who have {files.ca}: {error.verify_message}; issue it anew with "
            f"`atoll certificates issue`"
        ) from error
    except ssl.SSLError as error:
        raise TlsError(f"{files.cert} can't be used: {error}") from error
    return Material(
        server, client, dns_names(certificate), float(ssl.cert_time_to_seconds(certificate["notAfter"]))
    )


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        if (mode := files.key.stat().st_mode) & 0o077:
            raise TlsError(
                f"{files.key} can be read by others (mode {mode & 0o777:o}); make it `chmod 600`, and issue another "
                f"certificate if others may have read it"
            )
        authorities = files.ca.read_bytes()
    except OSError as error:
        raise TlsError(f"the files of TLS can't be read: {error}") from error
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(f"{files.ca} holds no certificates of authorities in PEM: {error}") from error
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(files.cert, files.key, password="none")  # noqa: S106
    except OSError as error:  # which SSLError is too
        raise TlsError(
            f"{files.cert} and {files.key} are no certificate and its key, in PEM and not encrypted: {error}"
        ) from error
    return context


def _proved(server: ssl.SSLContext, client: ssl.SSLContext, name: str, *, even_expired: bool) -> Certificate:
    """The certificate, once a handshake has succeeded. Raises `ssl.SSLError`."""
    try:
        return _shake(server, client, name)
    except ssl.SSLCertVerificationError as error:
        if not even_expired or error.verify_code != EXPIRED:
            raise
        with _at_any_time(server), _at_any_time(client):
            return _shake(server, client, name)


def _shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> Certificate:
    """A handshake within memory. Raises `ssl.SSLError`."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(back, there, server_hostname=name)
    called = server.wrap_bio(there, back, server_side=True)
    for _ in range(_FLIGHTS):
        for side in (caller, called):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    certificate = caller.getpeercert()
    assert certificate, "a handshake that failed has raised"
    return certificate


@contextlib.contextmanager
def _at_any_time(context: ssl.SSLContext) -> Iterator[None]:
    context.verify_flags |= _NO_CHECK_TIME
    try:
        yield
    finally:
        context.verify_flags &= ~_NO_CHECK_TIME
