"""Whose proposer a key is at home with: the same answer everywhere, without anybody being asked.

Proposers of the same key beat each other's ballots; one home spares them that and keeps its promise warm. It is a
matter of speed alone: any other may propose at any time, and takes over when the home can't be reached. (Rendezvous
hashing: Thaler and Ravishankar, 1998. A region more or less moves only its own keys.)
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile

from atoll.clock import Clock
from atoll.state.strong.backend import Change, Outcome, StrongBackend, Unavailable, Unknown, Versioned
from atoll.state.strong.messages import Register


def order(register: Register, regions: Iterable[str]) -> tuple[str, ...]:
    """The regions as they come to be asked for a register: its home, then who takes over, and so on."""
    return tuple(sorted(regions, key=lambda region: (_weight(register, region), region), reverse=True))


def _weight(register: Register, region: str) -> bytes:
    text = f"{register.namespace}\0{register.key}\0{region}"
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


PATIENCE_S = 1.5
"""How long a proposer is given before the next one takes over: some round trips around the world."""
TIMEOUT_S = 5.0
"""For an operation whose caller names no limit."""


class Homes:
    """A backend that sends each operation to its key's home, and to the next one when that fails.

    `proposers` has a backend for each region whose proposer can be asked; `regions` tells the acceptor regions of a
    namespace. Regions that `reachable` denies are not asked. `own` is this region: where no acceptor region can be
    reached its proposer tells why nothing can be done.
    """

    def __init__(
        self,
        own: str,
        proposers: Mapping[str, StrongBackend],
        regions: Callable[[str], Iterable[str]],
        clock: Clock,
        reachable: Callable[[str], bool],
    ) -> None:
        self._own = own
        self._proposers = proposers
        self._regions = regions
        self._clock = clock
        self._reachable = reachable

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        """`timeout_s` is for all proposers together."""
        failure = None
        for proposer, limit in self._turns(namespace, key, timeout_s):
            try:
                return await proposer.get(namespace, key, timeout_s=limit)
            except Unavailable as error:
                failure = failure or error
        raise failure or _nobody(namespace)

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        """Goes on to the next proposer under the same operation id, so that the change is made once at most.

        `timeout_s` is for all proposers together.
        """
        unknown: Unknown | None = None
        failure: Unavailable | None = None
        for proposer, limit in self._turns(namespace, key, timeout_s):
            try:
                return await proposer.change(namespace, key, change, timeout_s=limit)
            except Unknown as error:
                unknown = error
            except Unavailable as error:
                failure = failure or error
        # One that knows nothing of it can't take back what another may have done.
        raise unknown or failure or _nobody(namespace)

    def _turns(
        self, namespace: str, key: str, timeout_s: float | None
    ) -> Iterator[tuple[StrongBackend, float]]:
        """Whom to ask, one after the other, and for how long."""
        until = self._clock.monotonic() + (TIMEOUT_S if timeout_s is None else timeout_s)
        proposers = self._order(namespace, key)
        for turn, proposer in enumerate(proposers, 1):
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            yield proposer, left if turn == len(proposers) else min(left, PATIENCE_S)

    def _order(self, namespace: str, key: str) -> list[StrongBackend]:
        regions = order(Register(namespace, key), self._regions(namespace))
        there = [region for region in regions if region == self._own or self._reachable(region)]
        return [self._proposers[region] for region in there or [self._own] if region in self._proposers]


class Passing:
    """A region's proposer, as other regions ask it: it passes on changes that take turns.

    Who can't reach a key's home asks the next region, and if that one can reach it, two proposers would beat each other
    on a busy key for as long as the one link is cut. So it goes on to the home, or to whoever comes before this region
    in the order: at every step to an earlier one, so it ends. What doesn't take turns meets nobody, and is done here.
    """

    def __init__(
        self,
        own: str,
        proposers: Mapping[str, StrongBackend],
        regions: Callable[[str], Iterable[str]],
        reachable: Callable[[str], bool],
    ) -> None:
        """As for `Homes`."""
        self._own = own
        self._proposers = proposers
        self._regions = regions
        self._reachable = reachable

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        return await self._proposers[self._own].get(namespace, key, timeout_s=timeout_s)

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        regions = order(Register(namespace, key), self._regions(namespace)) if change.caller else ()
        for region in takewhile(lambda region: region != self._own, regions):
            if region in self._proposers and self._reachable(region):
                with contextlib.suppress(Unavailable):
                    return await self._proposers[region].change(namespace, key, change, timeout_s=timeout_s)
        return await self._proposers[self._own].change(namespace, key, change, timeout_s=timeout_s)


def _nobody(namespace: str) -> Unavailable:
    return Unavailable(f"no proposer of {namespace} is at hand; its acceptor regions are not connected")
