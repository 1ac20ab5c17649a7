"""Which region a certificate speaks for. Pure.

A certificate is its region's, shared by the region's roles: each of its DNS names is ``ROLE.REGION.DOMAIN``, or
``*.REGION.DOMAIN``. DNS names and no URI as in SPIFFE, since every authority issues them and the client has to check
one anyway (RFC 9525).
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

Certificate: TypeAlias = Mapping[str, Any]
"""As `ssl.SSLSocket.getpeercert` gives it."""


class Role(StrEnum):
    """Who is called."""

    GATEWAYS = "gateways"
    AGENT = "agent"


class Stranger(Exception):
    """The other side's certificate doesn't speak for who it says it is; the message says why."""


def server_name(role: Role, region: str, domain: str) -> str:
    """The name that the certificate of a region's gateways, or of its agent, has to hold."""
    return f"{role}.{region}.{domain}"


def dns_names(certificate: Certificate) -> tuple[str, ...]:
    return tuple(value.lower() for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")


def regions_of(certificate: Certificate, domain: str) -> frozenset[str]:
    """The regions that a certificate's names lie in."""
    suffix = f".{domain.lower()}"
    within = [
        name.removesuffix(suffix).split(".") for name in dns_names(certificate) if name.endswith(suffix)
    ]
    return frozenset(labels[1] for labels in within if len(labels) == 2)


def check_peer(certificate: Certificate | None, claimed: str, domain: str, known: Collection[str]) -> None:
    """Whether who says `claimed` (``REGION`` or ``REGION/process``) may say so. Raises `Stranger`.

    `known` are the regions that there are now.
    """
    if not certificate:
        raise Stranger("it shows no certificate")
    regions = regions_of(certificate, domain)
    if len(regions) != 1:
        names = ", ".join(dns_names(certificate)) or "none"
        found = "several regions" if regions else "no region"
        raise Stranger(f"its certificate names {found} of {domain} (its names: {names}); issue one a region")
    (region,) = regions
    if region not in known:
        raise Stranger(
            f"its certificate is of {region}, which is no region here ({', '.join(sorted(known))})"
        )
    if claimed.partition("/")[0] != region:
        raise Stranger(f"it says that it is {claimed}, and its certificate is of {region}")
