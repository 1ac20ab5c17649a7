"""Makes the certificates that cells prove their region with: an authority, and a certificate for each region.

For operators who have no authority of their own. An authority may sign names under its domain alone (RFC 5280, section
4.2.1.10) and no further authority, so what its key can do ends there. Keys are on P-256: a handshake costs a fraction
of one with RSA.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from atoll.tls.identity import Role, server_name

BACKDATED = timedelta(hours=1)
"""Clocks differ: a certificate is good for a peer whose clock is that far behind."""


class AuthorityError(Exception):
    """An authority that can't sign; says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes
    ends: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """What certificates are signed with."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    domain: str


def make_authority(domain: str, now: float, days: float) -> Issued:
    """A new authority for names under `domain`. `now` is Unix time."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Atoll certificate authority")
    builder = (
        _begin(name, name, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName(domain)], None), critical=True)
    )
    return _issued(builder, key, key)


def open_authority(certificates: bytes, key: bytes) -> Authority:
    """The authority that a key belongs to, of those whose certificates there are. Raises `AuthorityError`."""
    try:
        secret = serialization.load_pem_private_key(key, password=None)
        public = secret.public_key()
        found = [one for one in x509.load_pem_x509_certificates(certificates) if one.public_key() == public]
        constraints = [one.extensions.get_extension_for_class(x509.NameConstraints).value for one in found]
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise AuthorityError(f"it is none that `atoll certificates make-ca` has made: {error}") from error
    if not found or not isinstance(secret, ec.EllipticCurvePrivateKey):
        raise AuthorityError("the key is that of none of its certificates")
    domains = [
        name.value for name in constraints[0].permitted_subtrees or () if isinstance(name, x509.DNSName)
    ]
    if len(domains) != 1:
        raise AuthorityError("it is not for the names of one domain")
    return Authority(found[0], secret, domains[0])


def issue(authority: Authority, region: str, now: float, days: float) -> Issued:
    """A new certificate for a region, in every role, as client and as server. It ends with its authority at the latest.

    Raises `AuthorityError` if the authority has ended.
    """
    end = authority.certificate.not_valid_after_utc
    left = end - datetime.fromtimestamp(now, UTC)
    if left <= timedelta():
        raise AuthorityError(f"it has ended at {end:%Y-%m-%d %H:%M} UTC; make another one")
    key = ec.generate_private_key(ec.SECP256R1())
    names = [server_name(role, region, authority.domain) for role in Role]
    signer = authority.key.public_key()
    builder = (
        _begin(
            _name(region),
            authority.certificate.subject,
            key,
            now,
            min(days, left / timedelta(days=1)),
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )
    return _issued(builder, key, authority.key)


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: float, days: float
) -> x509.CertificateBuilder:
    moment = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - BACKDATED)
        .not_valid_after(moment + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _issued(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Issued:
    certificate = builder.sign(signer, hashes.SHA256())
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.not_valid_after_utc,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
