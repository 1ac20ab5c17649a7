import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.tls_files import DAY_S, DOMAIN, Signer, write_tls

from atoll.certificates import Issued, open_authority
from atoll.tls import Role, TlsError, server_name
from atoll.tls.material import read_material
from atoll.topology.wiring import TlsFiles, write_private

NAME = server_name(Role.GATEWAYS, "eu-west", DOMAIN)
SIGNER = Signer.new()


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return write_tls(tmp_path / "tls", SIGNER.issue("eu-west"), SIGNER.certificate)


def test_what_is_read(files: TlsFiles) -> None:
    material = read_material(files, NAME)
    assert material.names == ("gateways.eu-west.atoll.test", "agent.eu-west.atoll.test")
    assert abs(material.expires - time.time() - 30 * DAY_S) < 60
    read_material(files, server_name(Role.AGENT, "eu-west", DOMAIN))


def _missing(files: TlsFiles) -> None:
    files.key.unlink()


def _open_to_all(files: TlsFiles) -> None:
    files.key.chmod(0o644)


def _key_of_another(files: TlsFiles) -> None:
    write_private(files.key, SIGNER.issue("eu-west").key)


def _of_another_authority(files: TlsFiles) -> None:
    write_tls(files.cert.parent, Signer.new().issue("eu-west"), SIGNER.certificate)


def _of_another_region(files: TlsFiles) -> None:
    write_tls(files.cert.parent, SIGNER.issue("us-east"), SIGNER.certificate)


def _expired(files: TlsFiles) -> None:
    write_tls(files.cert.parent, SIGNER.expired("eu-west"), SIGNER.certificate)


def _not_yet(files: TlsFiles) -> None:
    write_tls(files.cert.parent, SIGNER.issue("eu-west", now=time.time() + DAY_S), SIGNER.certificate)


def _for_servers_alone(files: TlsFiles) -> None:
    write_tls(files.cert.parent, _one_role(), SIGNER.certificate)


def _encrypted(files: TlsFiles) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encrypted = serialization.BestAvailableEncryption(b"a password")
    write_private(
        files.key,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted),
    )


def _half_a_certificate(files: TlsFiles) -> None:
    content = files.cert.read_bytes()
    write_private(files.cert, content[: len(content) // 2])


def _no_authorities(files: TlsFiles) -> None:
    write_private(files.ca, b"")


def _half_an_authority(files: TlsFiles) -> None:
    content = files.ca.read_bytes()
    write_private(files.ca, content + content[: len(content) // 2])


def _binary(files: TlsFiles) -> None:
    write_private(files.ca, bytes(range(256)))


def _one_role() -> Issued:
    authority = open_authority(SIGNER.made.certificate, SIGNER.made.key)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return Issued(
        made.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), now
    )


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_missing, "can't be read"),
        (_open_to_all, "can be read by others"),
        (_key_of_another, "no certificate and its key"),
        (_of_another_authority, "unable to get local issuer|signature failure"),
        (_of_another_region, "not valid for 'gateways.eu-west.atoll.test'"),
        (_expired, "certificate has expired"),
        (_not_yet, "not yet valid"),
        (_for_servers_alone, "purpose"),
        (_encrypted, "not encrypted"),
        (_half_a_certificate, "no certificate and its key"),
        (_no_authorities, "ca.pem holds no certificates"),
        (_half_an_authority, "ca.pem holds no certificates"),
        (_binary, "ca.pem holds no certificates"),
    ],
)
def test_what_peers_would_refuse_is_refused_at_home(
    files: TlsFiles, spoil: Callable[[TlsFiles], None], reason: str
) -> None:
    spoil(files)
    with pytest.raises(TlsError, match=reason) as refused:
        read_material(files, NAME)
    assert str(files.cert.parent) in str(refused.value)
    assert "PRIVATE" not in str(refused.value)


def test_that_it_has_ended_can_be_no_error(files: TlsFiles) -> None:
    _expired(files)
    assert read_material(files, NAME, even_expired=True).expires < time.time()
    material = read_material(files, NAME, even_expired=True)
    assert not material.client.verify_flags & 0x200000, "the contexts that are used look at the time"
    assert not material.server.verify_flags & 0x200000


def test_an_ended_one_must_be_good_besides(files: TlsFiles) -> None:
    write_tls(files.cert.parent, SIGNER.expired("us-east"), SIGNER.certificate)
    with pytest.raises(TlsError, match="not valid for"):
        read_material(files, NAME, even_expired=True)


@pytest.mark.parametrize("old_first", [True, False])
def test_two_authorities_at_once(files: TlsFiles, old_first: bool) -> None:
    both = [SIGNER.certificate, Signer.new().certificate]
    write_private(files.ca, b"".join(both if old_first else reversed(both)))
    read_material(files, NAME)


def test_openssl_agrees(files: TlsFiles, tmp_path: Path) -> None:
    """By its strict rules (RFC 5280), which newer Pythons apply by default."""
    try:
        verified = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", files.ca, files.cert],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no openssl binary here")
    assert verified.returncode == 0, verified.stderr
