"""What the shop's services stand on, within one process: a model store, and strong registers over a faulty network."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import httpx

from atoll.calls import Caller
from atoll.clock import Clock
from atoll.middleware import Application, AtollMiddleware
from atoll.state.model import AsyncModelStore, ModelStore
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.following import Follow
from atoll.state.sdk.regional import RegionalState
from atoll.state.session import SessionTokens
from atoll.state.strong.backend import Change, Outcome, StrongBackend, Unavailable, Unknown, Versioned
from atoll.state.strong.register import EMPTY, Value, change
from atoll.state.vector import Vector
from atoll.state.wiring import wire_namespaces
from atoll.topology import load

SHOP = Path(__file__).parents[2] / "infra" / "topologies" / "shop.toml"
REGION = "us-east"


class Registers:
    """Strong registers as their users see them: each change takes effect at one moment, or says that it may have.

    Of all changes a share `loss` gets lost on the way there, and as many answers on the way back; half of the former
    come late. `pace_s` is the longest time of one way.
    """

    def __init__(self, chance: Random | None = None, loss: float = 0.0, pace_s: float = 0.1) -> None:
        self.values: dict[tuple[str, str], Value] = {}
        self.loss = loss
        self.down: Exception | None = None
        """What is raised by everything, as in a region that is cut off."""
        self.remembered = 64
        self._chance = chance
        self._pace_s = pace_s

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        await self._way()
        if self._lost():
            raise Unavailable("no majority answered; nothing was done")
        found = self.values.get((namespace, key), EMPTY).versioned
        await self._way()
        return found

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        await self._way()
        if self._chance is not None and self._lost():
            match self._chance.randrange(3):
                case 0:
                    raise Unavailable("no majority was there; nothing was done")
                case 1:
                    late_s = self._chance.uniform(0, 20 * self._pace_s)
                    asyncio.get_running_loop().call_later(late_s, self._made, namespace, key, change)
                case _:
                    pass
            raise Unknown("no answer came")
        outcome = self._made(namespace, key, change)
        await self._way()
        if self._lost():
            raise Unknown("the answer got lost")
        return outcome

    def _made(self, namespace: str, key: str, wanted: Change) -> Outcome:
        value = self.values.get((namespace, key), EMPTY)
        self.values[namespace, key], outcome = change(value, wanted, self.remembered)
        return outcome

    async def _way(self) -> None:
        if self.down is not None:
            raise self.down
        if self._chance is not None:
            await asyncio.sleep(self._chance.uniform(0, self._pace_s))

    def _lost(self) -> bool:
        return self._chance is not None and self._chance.random() < self.loss


def shop_state(clock: Clock, registers: StrongBackend, chance: Random | None = None) -> StateAccess:
    """A region of `shop.toml`."""
    model = ModelStore(clock)
    model.open(REGION, "a-test")
    store = AsyncModelStore(model)

    namespaces = wire_namespaces(load(SHOP))
    regional = RegionalState(
        REGION, namespaces, store, following(store, REGION), registers, clock, chance or Random(1)
    )
    return StateAccess(regional, SessionTokens(b"sessions-of-tests"), clock, regional.close)


def following(store: AsyncModelStore, region: str) -> Follow:
    """What the store knows, whenever it has come to know more."""

    async def follow() -> AsyncIterator[Vector]:
        while True:
            yield store.model.vector()
            await store.read_log(store.model.vector().latest(region), 1, block_s=60)

    return follow


def client(api: Application, state: StateAccess | None, clock: Clock, prefix: str) -> httpx.AsyncClient:
    """A replica of a service, asked without a gateway. Mounted as Serve mounts it: the path keeps the route prefix."""
    served = AtollMiddleware(api, caller=Caller((), clock), state=state)
    transport = httpx.ASGITransport(served, root_path=prefix)
    return httpx.AsyncClient(transport=transport, base_url="http://shop")
