"""What goes wrong with a proxied request, in words for the client (RFC 9457)."""

import json
from collections.abc import Iterable

from atoll_gateway.http.problem import Problem


def no_such_service(prefixes: Iterable[str]) -> Problem:
    """404: no route prefix matches."""
    known = ", ".join(sorted(prefixes)) or "none"
    return Problem(
        404, "no-such-service", "No such service", f"No service has this path. Known prefixes: {known}."
    )


def bad_header(name: str, reason: str) -> Problem:
    """400: a header of Atoll's has an impossible value."""
    return Problem(400, "bad-header", "A header is wrong", f"{name}: {reason}.")


def body_too_large(service: str, limit: int) -> Problem:
    """413: the body is longer than the service takes."""
    return Problem(
        413, "body-too-large", "The request body is too large", f"{service} takes at most {limit} bytes."
    )


def no_zone(service: str, country: str | None) -> Problem:
    """503: residency leaves no zone."""
    where = f" for clients in {country}" if country else ""
    return Problem(
        503,
        "residency",
        "Residency leaves no region",
        f"{service} may not be executed in any zone{where}: its zones and the client's zone exclude each other.",
    )


def no_region(service: str, reasons: Iterable[str]) -> Problem:
    """503: residency allows regions, but none of them can serve."""
    listed = "; ".join(reasons) or "none runs it"
    return Problem(503, "no-region", "No region can serve this", f"{service}: {listed}. Try again shortly.")


def no_replica(service: str, region: str) -> Problem:
    """503: the region has no replica that takes requests."""
    return Problem(
        503,
        "no-replica",
        "No replica is ready",
        f"{region} has no replica of {service} that takes requests. Try again.",
    )


def full(service: str, region: str) -> Problem:
    """503: every replica there has as many requests waiting as it takes."""
    return Problem(
        503, "full", "The region is full", f"{service} in {region} takes no more requests now. Try again."
    )


def unreachable(region: str) -> Problem:
    """503: no gateway of the region could be reached; nothing was sent."""
    return Problem(
        503,
        "unreachable",
        "The region is unreachable",
        f"No gateway of {region} could be reached. Try again.",
    )


def misdirected(service: str, region: str) -> Problem:
    """421: this gateway is outside the request's zones and the service forbids transit."""
    return Problem(
        421,
        "transit-refused",
        "This gateway may not pass the request on",
        f"{service} refuses transit through {region}. Ask /-/steer for a gateway inside its zones.",
    )


def outside_zones(service: str, region: str) -> Problem:
    """503: another gateway wanted this region to execute a request that may not be executed here."""
    return Problem(
        503,
        "residency",
        "Not executed here",
        f"{region} is outside the zones that {service} allows for this request.",
    )


def outcome_unknown(region: str, reason: str) -> Problem:
    """502: the request may have been executed; sending it again could do so twice."""
    return Problem(
        502,
        "outcome-unknown",
        "The outcome is unknown",
        f"The connection to {region} was lost ({reason}) after the request was sent. It may have been executed; "
        "it was not sent again because its method is not idempotent.",
    )


def lost(region: str, reason: str) -> Problem:
    """502: a request that could have been sent again was lost, and no attempt was left."""
    return Problem(
        502, "upstream-lost", "The answer was lost", f"{region}: {reason}. No further attempt was possible."
    )


def too_slow(stage: str, seconds: float) -> Problem:
    """504: the deadline passed."""
    return Problem(
        504,
        "deadline-exceeded",
        "The deadline has passed",
        f"No answer within {seconds:g} s; the time went into {stage}.",
    )


def passed_on(region: str, content: bytes) -> Problem:
    """503: a region's gateway refused without executing; `content` is the problem it told."""
    try:
        detail = str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"{region} refused without saying why."
    return Problem(503, "refused", "The region refused", detail)


NOT_A_PEER = Problem(
    401,
    "not-a-peer",
    "Not a known gateway",
    "This listener is for gateways: say hello with the cell's token first.",
)
NOT_AN_OPERATOR = Problem(
    401,
    "not-an-operator",
    "Not a known operator",
    "Show the token in .atoll/secrets/admin-token, as bearer token or password.",
)
