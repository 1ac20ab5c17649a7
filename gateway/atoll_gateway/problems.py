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


def body_too_slow(seconds: float) -> Problem:
    """408: the deadline passed while the body was on its way."""
    return Problem(
        408,
        "body-timeout",
        "The request body took too long",
        f"It was not complete within {seconds:g} s, the request's deadline: nothing was executed. Send it faster, or "
        "allow more time with Atoll-Timeout.",
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


def behind(service: str, region: str) -> Problem:
    """503: the region's state lacks what the client has seen."""
    return Problem(
        503,
        "region-behind",
        "The region has not caught up yet",
        f"{service} in {region} lacks writes that this client's session has seen. Try again.",
    )


def breaker_open(service: str, region: str) -> Problem:
    """503: requests there kept failing, so none is sent for a while."""
    return Problem(
        503,
        "breaker-open",
        "The region keeps failing",
        f"{service} in {region} has kept failing and is left alone for a moment. Try again shortly.",
    )


def overloaded(service: str) -> Problem:
    """503: no region that the request may go to has a place for it."""
    return Problem(
        503,
        "overloaded",
        "All regions are full",
        f"No region has a place for this request to {service} now. Nothing was executed. Try again later, with growing "
        "pauses.",
    )


def rate_limited(service: str, retry_after_s: int) -> Problem:
    """429: the service or this client has used up its rate."""
    return Problem(
        429,
        "rate-limited",
        "Too many requests",
        f"The rate limit of {service} is used up. Nothing was executed. Try again in {retry_after_s} s; the RateLimit "
        "header tells what is left.",
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
        "it was not sent again because that could do it twice.",
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
        told = json.loads(content)
        detail, full = str(told["detail"]), told["type"] == "urn:atoll:problem:full"
    except (ValueError, KeyError, TypeError):
        detail, full = f"{region} refused without saying why.", False
    return Problem(503, "full" if full else "refused", "The region refused", detail)


def key_body_too_large(service: str, limit: int) -> Problem:
    """413: a request whose key the gateway keeps has to be compared with its retry, so it is held whole."""
    return Problem(
        413,
        "key-body-too-large",
        "The request body is too large for a key",
        f"With an Idempotency-Key, {service} takes at most {limit} bytes: a longer body can't be compared with a "
        "retry's. Send it without a key, in parts, or have the service keep keys itself.",
    )


def key_store_unavailable(home: str, reason: str) -> Problem:
    """503: the records of the key can't be asked, so nothing was sent."""
    return Problem(
        503,
        "key-store-unavailable",
        "The key can't be checked",
        f"The Idempotency-Key's records are kept in {home}, and can't be reached now ({reason}). Nothing was "
        "executed. Try again with the same key.",
    )


def answer_not_kept(status: int | None) -> Problem:
    """409: the request has been executed, but its answer is not there to be given again."""
    told = "" if status is None else f" with status {status}"
    return Problem(
        409,
        "answer-not-kept",
        "The first answer was not kept",
        f"The first request with this Idempotency-Key was answered{told}; its answer was too long to be kept. It was "
        "not executed again. Ask the service for the outcome.",
    )


def keys_unavailable(reason: str, status: int) -> Problem:
    """For a gateway: 503, the order was not carried out; 500, nobody knows."""
    return Problem(status, "keys-unavailable", "The records of keys can't be asked", reason)


def keys_not_here(service: str) -> Problem:
    """For a gateway: 403, keys of this service may not be kept in this region."""
    return Problem(
        403, "keys-not-here", "Not kept here", f"{service} is not known here, or must not leave data here."
    )


def bad_order(reason: str) -> Problem:
    """For a gateway: 400, an order about a key that can't be understood."""
    return Problem(400, "bad-order", "The order makes no sense", reason)


KEY_IN_FLIGHT = Problem(
    409,
    "key-in-flight",
    "The first request is still under way",
    "A request with this Idempotency-Key is being executed, or was when its gateway was lost. Try again with the same "
    "key for what came of it.",
)
KEY_REUSED = Problem(
    422,
    "key-reused",
    "The key belongs to another request",
    "This Idempotency-Key was first used with another method, path, query, content type or body. A new request needs a "
    "new key.",
)
KEY_OUTCOME_UNKNOWN = Problem(
    502,
    "outcome-unknown",
    "The outcome is unknown",
    "The first request with this Idempotency-Key may have been executed, and its answer was lost. It was not executed "
    "again, and will not be under this key. Ask the service for the outcome.",
)
NOT_A_PEER = Problem(
    401,
    "not-a-peer",
    "Not a known gateway",
    "This listener is for gateways: say hello with the cell's token first.",
)


def stranger(reason: str) -> Problem:
    """403: the token is right, and the certificate doesn't speak for who says hello."""
    return Problem(403, "not-a-peer", "Not a known gateway", f"This hello is not believed: {reason}.")


NOT_AN_OPERATOR = Problem(
    401,
    "not-an-operator",
    "Not a known operator",
    "Show the token in .atoll/secrets/admin-token, as bearer token or password.",
)
