"""``Idempotency-Key``: what a key is, what is remembered of a request that carries one, and the life of that record.

    free --claim--> in flight --complete--> complete
      ^                 |  `--settled as unknown, or the lease ends--> unknown
      `-----release-----'

Whoever claims a free key may send the request once. Whoever finds the key taken is told what became of it and sends
nothing. A record is forgotten after its time to live and never earlier, except by a release: the request was
certainly not executed.

After the IETF draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header-07): a
fingerprint, 409 while the first request is in flight, 422 for another payload, the first answer again afterwards. That
an unknown outcome stays unknown is Atoll's own; Stripe, whose API the draft describes, keeps every answer from the
moment the endpoint began to execute, and so does this.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum

from atoll.clock import Clock

KEY_BYTES = 255
"""Longest key, as with Stripe. The draft leaves it to the resource."""

_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])+)"')
_ESCAPED = re.compile(rb"\\(.)")
_BARE = re.compile(rb"[!#-+\--:<-\[\]-~]+")


def parse_key(value: bytes) -> bytes:
    """The key in a header's value: a string of RFC 9651 (``"..."``), or the same without quotes, as many clients send.

    Both forms of a key are one key. Raises `ValueError` that says what would be right.
    """
    if (quoted := _QUOTED.fullmatch(value)) is not None:
        key: bytes = _ESCAPED.sub(rb"\1", quoted[1])
    elif _BARE.fullmatch(value) is not None:
        key = value
    else:
        raise ValueError(
            'is one string of visible ASCII characters, such as "8e03978e-40d5-43dd-bc93-6894a57f9324"'
        )
    if len(key) > KEY_BYTES:
        raise ValueError(f"has {len(key)} characters; at most {KEY_BYTES} are allowed")
    return key


def record_name(service: str, authorization: bytes | None, key: bytes) -> str:
    """The name under which a key is remembered, in hex.

    A key belongs to a service, and to whoever shows the same ``Authorization``: nobody else can read the answer by
    guessing the key. The name tells neither.
    """
    return _digest(service.encode(), b"" if authorization is None else authorization, key)


def fingerprint(method: str, target: bytes, content_type: bytes | None, body: bytes) -> str:
    """What tells a retry from another request under the same key, in hex: SHA-256."""
    return _digest(method.encode("latin-1"), target, content_type or b"", body)


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))  # so that no two lists of parts read the same
        digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Claim:
    """One request's claim on a key. Only the claim that got the key can settle it."""

    service: str
    record: str
    """Of `record_name`."""
    fingerprint: str
    token: str
    """Names the claim: which process made it, and which of its claims it is."""
    lease_ms: int
    """For so long the key counts as in flight; afterwards, if nobody settled it, the outcome is unknown."""
    ttl_ms: int
    """For so long the record is kept: from the claim, and anew from its completion."""

    @property
    def expire_ms(self) -> int:
        """A record outlives its lease, however short its time to live."""
        return max(self.ttl_ms, self.lease_ms)


class Standing(StrEnum):
    """How a key stands to the one who wants to claim it."""

    CLAIMED = "claimed"
    """It was free and is this claim's now."""
    IN_FLIGHT = "in-flight"
    """The first request under it is under way."""
    REUSED = "reused"
    """The first request under it was another one."""
    COMPLETE = "complete"
    """The first request has been answered."""
    UNKNOWN = "unknown"
    """The first request may have been executed, and nobody knows."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What came of a claim."""

    standing: Standing
    answer: bytes = b""
    """Of `write_answer`, if `standing` is `COMPLETE`."""


class Settlement(StrEnum):
    """How a claim ends."""

    COMPLETE = "complete"
    """The request was executed and answered."""
    RELEASE = "release"
    """The request was certainly not executed: the key is free again."""
    UNKNOWN = "unknown"
    """The request may have been executed; it never will be again under this key."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The first answer, as it is kept."""

    status: int
    headers: list[tuple[bytes, bytes]]
    region: str | None
    """Where it was produced."""
    body: bytes | None
    """None if it was too long to be kept."""


def write_answer(answer: Answer) -> bytes:
    """An answer as bytes: one line of JSON, then the body. A reader ignores members that it does not know."""
    head = {
        "status": answer.status,
        "region": answer.region,
        "kept": answer.body is not None,
        "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
        if answer.body is not None
        else [],
    }
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + (answer.body or b"")


def read_answer(content: bytes) -> Answer:
    """The reverse of `write_answer`. Raises `ValueError` for anything else."""
    line, _, body = content.partition(b"\n")
    try:
        head = json.loads(line)
        return Answer(
            int(head["status"]),
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head["headers"]],
            head["region"],
            body if head["kept"] else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no kept answer: {error!r}") from error


@dataclass(slots=True)
class _Record:
    fingerprint: str
    token: str
    standing: Standing
    lease_until: float
    expires: float
    answer: bytes = b""


class Records:
    """The records of keys, in memory: the rules in one place, and what a store's script is tested against."""

    __slots__ = ("_clock", "_records")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def claim(self, claim: Claim) -> Claimed:
        """Takes the key if it is free, else says how it stands. The same claim may ask again until it is settled."""
        now = self._clock.monotonic()
        record = self._live(claim.record, now)
        if record is None:
            self._records[claim.record] = _Record(
                claim.fingerprint,
                claim.token,
                Standing.IN_FLIGHT,
                now + claim.lease_ms / 1000,
                now + claim.expire_ms / 1000,
            )
            return Claimed(Standing.CLAIMED)
        if record.fingerprint != claim.fingerprint:
            return Claimed(Standing.REUSED)
        if record.standing is Standing.IN_FLIGHT:
            if record.token == claim.token:
                return Claimed(Standing.CLAIMED)
            if now >= record.lease_until:
                return Claimed(Standing.UNKNOWN)
        return Claimed(record.standing, record.answer)

    def settle(self, claim: Claim, settlement: Settlement, answer: bytes = b"") -> bool:
        """Ends a claim; false if the key is not, or no longer, this claim's. Doing it twice changes nothing.

        A lease that has ended does not hinder: a late answer is better than none.
        """
        now = self._clock.monotonic()
        record = self._live(claim.record, now)
        if record is None or record.token != claim.token:
            return False
        if settlement is Settlement.RELEASE:
            del self._records[claim.record]
        elif settlement is Settlement.COMPLETE:
            record.standing = Standing.COMPLETE
            record.answer = answer
            record.expires = now + claim.expire_ms / 1000
        elif record.standing is Standing.IN_FLIGHT:
            record.standing = Standing.UNKNOWN
        return True

    def _live(self, name: str, now: float) -> _Record | None:
        record = self._records.get(name)
        if record is not None and now >= record.expires:
            del self._records[name]
            return None
        return record
