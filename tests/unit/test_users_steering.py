import itertools
import random
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from loadtests.users.client import NoAnswer, Origin
from loadtests.users.steering import AGAIN_S, Answer, Gateway, Resolver, Resolvers, Unsteered

WEST = Gateway("eu-west", Origin("127.0.0.1", 1))
EAST = Gateway("us-east", Origin("127.0.0.1", 2))
TTL_S = 30.0


@dataclass
class Steering:
    """Says what it is told to, and remembers when it was asked."""

    clock: ManualClock
    gateways: tuple[Gateway, ...] = (WEST, EAST)
    dead: bool = False
    asked: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, address: str) -> Answer:
        self.asked.append((self.clock.monotonic(), address))
        if self.dead:
            raise NoAnswer("refused")
        return Answer(self.gateways, TTL_S)


def made(seed: int = 1) -> tuple[ManualClock, Steering, Resolver]:
    clock = ManualClock()
    steering = Steering(clock)
    return clock, steering, Resolver(steering, "87.32.10.20", clock, random.Random(seed))


def test_an_answer_is_kept_until_its_time_is_over_whatever_happens() -> None:
    clock, steering, resolver = made()
    assert resolver.gateways()[0] == WEST
    clock.advance(TTL_S)  # the first answer may be of any age
    assert resolver.gateways()[0] == WEST
    steering.gateways = (EAST,)
    clock.advance(TTL_S - 0.1)
    assert resolver.gateways()[0] == WEST, "its gateway may be dead by now: nobody tells a resolver"
    clock.advance(0.1)
    assert resolver.gateways()[0] == EAST
    assert len(steering.asked) == 3


def test_control_who_asks_each_time_is_not_exposed() -> None:
    clock, steering, _ = made()
    steering.gateways = (EAST,)
    assert Resolver(steering, "87.32.10.20", clock, random.Random(1)).gateways()[0] == EAST


def test_the_first_answer_is_of_any_age() -> None:
    """Over many resolvers, the time that is left of it is spread evenly."""
    left = []
    for seed in range(200):
        clock, steering, resolver = made(seed)
        resolver.gateways()
        while len(steering.asked) < 2:
            clock.advance(0.5)
            resolver.gateways()
        left.append(steering.asked[1][0])
    assert min(left) < 0.1 * TTL_S and max(left) > 0.9 * TTL_S
    assert abs(sum(left) / len(left) - TTL_S / 2) < 2.0


def test_an_old_answer_holds_while_nobody_gives_a_new_one() -> None:
    clock, steering, resolver = made()
    resolver.gateways()
    steering.dead = True
    clock.advance(TTL_S)
    assert resolver.gateways()[0] == WEST
    assert resolver.gateways()[0] == WEST
    assert len(steering.asked) == 2, "it is not asked at every request"
    steering.dead, steering.gateways = False, (EAST,)
    clock.advance(AGAIN_S)
    assert resolver.gateways()[0] == EAST


def test_without_any_answer_there_is_nowhere_to_go() -> None:
    clock, steering, resolver = made()
    steering.dead = True
    for _ in range(3):
        with pytest.raises(Unsteered):
            resolver.gateways()
    assert len(steering.asked) == 1
    steering.dead = False
    clock.advance(AGAIN_S)
    assert resolver.gateways()[0] == WEST


def test_who_comes_while_the_first_answer_is_on_its_way_waits_for_it() -> None:
    asked, answers = threading.Event(), threading.Event()
    calls = []

    def slow(address: str) -> Answer:
        calls.append(address)
        asked.set()
        answers.wait(10)
        return Answer((WEST,), TTL_S)

    resolver = Resolver(slow, "87.32.10.20", ManualClock(), random.Random(1))
    found: list[Gateway] = []
    users = [threading.Thread(target=lambda: found.append(resolver.gateways()[0])) for _ in range(5)]
    for user in users:
        user.start()
    assert asked.wait(10)
    answers.set()
    for user in users:
        user.join(10)
    assert found == [WEST] * 5 and len(calls) == 1


@given(st.lists(st.floats(0.0, 20.0), max_size=100), st.integers(0, 1000))
def test_it_asks_once_in_a_time_to_live_and_goes_by_no_older_answer(pauses: list[float], seed: int) -> None:
    clock, steering, resolver = made(seed)
    for pause_s in pauses:
        clock.advance(pause_s)
        resolver.gateways()
        assert clock.monotonic() - steering.asked[-1][0] < TTL_S
    times = [at_s for at_s, _ in steering.asked]
    assert all(later - earlier >= TTL_S for earlier, later in itertools.pairwise(times[1:]))


def test_each_country_has_one() -> None:
    clock = ManualClock()
    steering = Steering(clock)
    resolvers = Resolvers(steering, clock, random.Random(1))
    for _ in range(2):
        resolvers.of("IE", "87.32.10.20").gateways()
        resolvers.of("JP", "133.11.0.10").gateways()
    assert [address for _, address in steering.asked] == ["87.32.10.20", "133.11.0.10"]
