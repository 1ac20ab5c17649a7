"""Leases over strong registers, with fencing tokens.

No clock is compared with another's. The holder counts from the moment before it asked, on its own clock; another one
counts from the moment it saw the lease as it is, on its own clock, and takes it over only if it stayed so for the
whole term and a margin more. So a lease that nobody keeps costs who waits for it one term, from when it began to
watch. (Gray and Cheriton, "Leases", SOSP 1989, for terms and drift.)

A lease alone excludes nobody: a holder that was suspended wakes up after its term and doesn't know it. What it guards
has to take the fencing token along and refuse one that is lower than the highest it has seen. (Martin Kleppmann, "How
to do distributed locking", 2016.)
"""

import asyncio
import uuid
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.state.strong.backend import (
    ABSENT,
    DELETE,
    Change,
    Committed,
    Conflict,
    Expect,
    Outcome,
    StrongBackend,
    Unavailable,
    Unknown,
    Versioned,
)
from atoll.state.strong.codec import pack, unpack

FORMAT = 1
DRIFT = 0.02
"""Share by which one clock may run faster than another: far more than a quartz, whose error is under 0.0002. With it a
holder counts its term shorter, and who takes over counts it longer."""
POLL_S = 0.25
"""How often a lease that somebody else holds is looked at."""


class LeaseLost(Exception):
    """The lease is another's, or nobody's, by now. Stop what it guards."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What the register of a lease holds."""

    holder: str
    term_s: float
    token: int
    """0 in the record that acquires it: there the token is the version of the record itself."""

    def encode(self) -> bytes:
        return pack([FORMAT, self.holder, self.term_s, self.token])


def parse(encoded: bytes) -> LeaseRecord:
    """From `LeaseRecord.encode`. Raises `ValueError` for another format."""
    form, holder, term_s, token = unpack(encoded)
    if form != FORMAT:
        raise ValueError(
            f"a lease has format {form}, and this release reads {FORMAT}: update this region first"
        )
    return LeaseRecord(holder, term_s, token)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was ours until `until`, if the clock is right."""

    name: str
    token: int
    """Fencing token: above those of all that held it before."""
    version: int
    """Of the register, which every renewal raises."""
    term_s: float
    until: float
    """On the holder's monotonic clock."""


class Watch:
    """What one that waits has seen of a lease, and since when. Sans-I/O."""

    __slots__ = ("_clock", "_since", "_version")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._version: int | None = None
        self._since = 0.0

    def over(self, seen: Versioned) -> bool:
        """Whether the lease has stayed as it is for its term and the margin: then it may be taken over."""
        now = self._clock.monotonic()
        if seen.version != self._version:
            self._version, self._since = seen.version, now
        return now - self._since > parse(seen.value).term_s * (1 + DRIFT)


class Leases:
    """Leases of one namespace, as one holder has them."""

    def __init__(self, backend: StrongBackend, namespace: str, holder: str, clock: Clock) -> None:
        self._backend = backend
        self._namespace = namespace
        self._holder = holder
        self._clock = clock

    async def acquire(self, name: str, term_s: float, *, wait_s: float = 0.0) -> Lease | None:
        """The lease; None if another one held it all the time. Raises `Unavailable` and `Unknown`.

        After `Unknown` it may be held by us without our knowing; it then ends by itself.
        """
        give_up = self._clock.monotonic() + wait_s
        watch = self.watch()
        while True:
            lease = await self.try_once(name, term_s, watch)
            if lease is not None:
                return lease
            left = give_up - self._clock.monotonic()
            if left <= 0:
                return None
            await asyncio.sleep(min(POLL_S, left))

    def watch(self) -> Watch:
        """What `try_once` goes by: one for each lease that is waited for."""
        return Watch(self._clock)

    async def try_once(self, name: str, term_s: float, watch: Watch) -> Lease | None:
        """One look: takes the lease if nobody holds it, or if `watch` has seen it unchanged for long enough."""
        if term_s <= 0:
            raise ValueError(f"a lease's term is above zero, not {term_s:g} s")
        found = await self._backend.get(self._namespace, name)
        if found is not None and not watch.over(found):
            return None
        return await self._take(name, term_s, ABSENT if found is None else found.version)

    async def renew(self, lease: Lease) -> Lease:
        """The same lease for another term. Raises `LeaseLost`, `Unavailable` and `Unknown`."""
        began = self._clock.monotonic()
        record = LeaseRecord(self._holder, lease.term_s, lease.token)
        outcome = await self._change(lease.name, Change(lease.version, record.encode(), _operation()))
        if isinstance(outcome, Conflict):
            raise LeaseLost(
                f"lease {self._namespace}/{lease.name} (token {lease.token}) is not ours any more"
            )
        until = began + lease.term_s * (1 - DRIFT)
        return Lease(lease.name, lease.token, outcome.version, lease.term_s, until)

    async def release(self, lease: Lease) -> bool:
        """Gives it back; False if it was not ours any more. Raises `Unavailable` and `Unknown`."""
        outcome = await self._change(lease.name, Change(lease.version, DELETE, _operation()))
        return isinstance(outcome, Committed)

    async def _take(self, name: str, term_s: float, expect: int | Expect) -> Lease | None:
        began = self._clock.monotonic()
        record = LeaseRecord(self._holder, term_s, 0)
        outcome = await self._change(name, Change(expect, record.encode(), _operation()))
        if isinstance(outcome, Conflict):
            return None
        return Lease(name, outcome.version, outcome.version, term_s, began + term_s * (1 - DRIFT))

    async def _change(self, name: str, change: Change) -> Outcome:
        """Asks twice: an outcome that got lost is found by the operation id."""
        try:
            return await self._backend.change(self._namespace, name, change)
        except Unknown as unknown:
            try:
                return await self._backend.change(self._namespace, name, change)
            except Unavailable:
                raise unknown from None


def _operation() -> str:
    return uuid.uuid4().hex
