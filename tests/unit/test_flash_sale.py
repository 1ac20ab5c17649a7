"""A flash sale on virtual time: everybody in Ireland, and some in Virginia, buys one article while the link between the
two is cut. What each purchase costs is waiting, so that nothing depends on this machine.
"""

import asyncio
from collections import Counter
from random import Random

import pytest
from tests.unit.strong_far import Far

from atoll import state
from atoll.resilience.deadline import Deadline
from atoll.simulate.loop import VirtualLoop, run
from atoll.state.sdk import combining
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.scope import entered
from atoll.state.strong import queue
from atoll_services.checkout.order import Order, Phase
from atoll_services.checkout.saga import Saga
from atoll_services.checkout.steps import purchase_steps
from atoll_services.inventory.inventory import Inventory

SALE = "360630"
"""As in the drill's load: at home in Ireland."""
ON_HAND = 40
BUYERS, PER_S = 60, 4.0
PATIENCE_S = 10.0
"""Of the drill's users."""


def flash_sale(replicas: int) -> tuple[Counter[str], float, float]:
    """What buyers were told, the longest that one waited, and how many strong changes of the article's stock each
    purchase took.
    """
    loop = VirtualLoop()

    longest_s = 0.0

    async def main() -> tuple[Counter[str], float, float]:
        far = await Far(loop).founded()
        processes = [far.process("eu-west") for _ in range(replicas)] + [far.process("us-east")]
        with entered(processes[0].scope()):
            await Inventory(loop.clock).count(SALE, ON_HAND)
        far.links.cut.add(frozenset(("us-east", "eu-west")))
        chance, told, buyers = Random(1), Counter[str](), []
        for number in range(BUYERS):
            process = processes[-1] if number % 6 == 0 else chance.choice(processes[:-1])
            buyers.append(asyncio.create_task(buyer(process, f"p{number}", told)))
            await asyncio.sleep(chance.expovariate(PER_S))
        await asyncio.gather(*buyers)
        far.links.cut.clear()
        with entered(processes[0].scope()):
            stock = await Inventory(loop.clock).stock(SALE)
        assert stock is not None and stock.available >= 0
        assert ON_HAND - stock.on_hand >= told["placed"]
        assert told["placed"] + stock.available + stock.held <= ON_HAND
        changes = sum(agent.changes["stock"] for agent in far.agents.values())
        return told, longest_s, changes / BUYERS

    async def buyer(process: StateAccess, name: str, told: Counter[str]) -> None:
        nonlocal longest_s
        began = loop.time()
        wanted = Order(items={SALE: 1}, cents=250, fingerprint=name)
        with entered(process.scope(deadline=Deadline(loop.clock, PATIENCE_S))):
            try:
                made = await Saga(purchase_steps(loop.clock)).carry_out(name, wanted, "visa")
                told["placed" if made.phase is Phase.PLACED else "sold out"] += 1
            except (state.Unavailable, state.Unknown):
                told["failed"] += 1
        longest_s = max(longest_s, loop.time() - began)

    return run(loop, main())


@pytest.mark.parametrize("replicas", [1, 4])
def test_nobody_fails_and_nothing_is_sold_twice(replicas: int) -> None:
    told, longest_s, changes = flash_sale(replicas)
    assert told == {"placed": ON_HAND, "sold out": BUYERS - ON_HAND}
    assert longest_s < 6.0, "as the drill's file says"
    assert changes < 3, "a reservation and a sale, shared or tried again once"


def test_without_sharing_and_turns_buyers_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combining, "MOST", 1)
    assert flash_sale(1)[0]["failed"] > 0.1 * BUYERS
    monkeypatch.undo()
    monkeypatch.setattr(queue, "TURN_S", 0.0)
    assert flash_sale(4)[0]["failed"] > 0
