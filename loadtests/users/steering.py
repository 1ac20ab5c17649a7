"""How users who follow DNS find a gateway.

Each country has a resolver, as a provider has one for its customers. It keeps steering's answer until its time to live
is over, *whatever happens* to the gateways that it names. Users who stand behind an entry need none of this.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from atoll.clock import Clock
from loadtests.users.client import NoAnswer, Origin

AGAIN_S = 1.0
"""How long a resolver that got no answer waits before it asks again; the old answer holds until then (RFC 8767)."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where a user may go."""

    region: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Answer:
    """What steering says: gateways, best first, and for how long."""

    gateways: tuple[Gateway, ...]
    ttl_s: float


Ask = Callable[[str], Answer]
"""Asks steering for a client with this address. Raises `NoAnswer`."""


class Unsteered(Exception):
    """No gateway is known, and nobody says one."""


class Resolver:
    """Steering's answer for one address, kept.

    Others have asked before, so the first answer is of any age: it holds for a random part of its time to live. So
    resolvers don't ask in step with each other, or with the drill.
    """

    def __init__(self, ask: Ask, address: str, clock: Clock, rng: random.Random) -> None:
        self._ask = ask
        self._address = address
        self._clock = clock
        self._rng = rng
        self._answer: Answer | None = None
        self._until_s = 0.0
        self._first = Lock()

    def gateways(self) -> tuple[Gateway, ...]:
        """Gateways, best first. Raises `Unsteered`."""
        if self._answer is None:
            with self._first:  # the others wait for the first answer
                self._refresh()
        else:
            self._refresh()
        if self._answer is None or not self._answer.gateways:
            raise Unsteered
        return self._answer.gateways

    def _refresh(self) -> None:
        if self._clock.monotonic() < self._until_s:
            return
        first = self._answer is None
        # Set before asking: others ask while this waits, and go by the old answer.
        self._until_s = self._clock.monotonic() + AGAIN_S
        try:
            answer = self._ask(self._address)
        except NoAnswer:
            self._until_s = self._clock.monotonic() + AGAIN_S
            return
        self._answer = answer
        age = self._rng.random() if first else 0.0
        self._until_s = self._clock.monotonic() + answer.ttl_s * (1.0 - age)


class Resolvers:
    """The resolver of each country, made when its first user asks."""

    def __init__(self, ask: Ask, clock: Clock, rng: random.Random) -> None:
        self._ask = ask
        self._clock = clock
        self._rng = rng
        self._known: dict[str, Resolver] = {}

    def of(self, country: str, address: str) -> Resolver:
        resolver = self._known.get(country)
        if resolver is None:
            resolver = self._known[country] = Resolver(self._ask, address, self._clock, self._rng)
        return resolver
