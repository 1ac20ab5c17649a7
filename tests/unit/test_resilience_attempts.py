"""Which attempts a request has, in which order, after which pauses, and who pays."""

import asyncio
from bisect import bisect_left, bisect_right
from collections import Counter
from contextlib import suppress
from itertools import pairwise

import pytest
from tests.unit.attempts import Bench, OutcomeUnknown, Step

from atoll.resilience import attempts
from atoll.resilience.attempts import Failure
from atoll.resilience.budget import NO_BUDGET, UNLIMITED, WINDOW_S
from atoll.topology import RetryPolicy

GOOD = [Step()]


def test_the_first_attempt_is_a_bare_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "AsyncRetrying", None)
    bench = Bench({"a": [Step(after_s=0.0)]})

    async def main() -> None:
        coroutine = bench.ask()
        with pytest.raises(StopIteration) as ended:
            coroutine.send(None)  # it never waits: no task, no turn of the loop
        assert ended.value.value.status == 200
        assert len(asyncio.all_tasks()) == 1

    bench.run(main())


@pytest.mark.parametrize("first", [503, 502, 504, "lost", "unreachable", "refused"])
def test_the_next_attempt_leaves_the_failed_region_at_once(first: int | str) -> None:
    bench = Bench({"a": [Step(first)], "b": GOOD})
    response = bench.run(bench.ask())
    assert (response.region, bench.regions.order) == ("b", "ab")
    assert bench.clock.now == pytest.approx(0.02), "without a pause"
    paid = 0 if first in {"unreachable", "refused"} else 1
    statistics = bench.budget.statistics()
    assert (statistics.requests, statistics.successes) == (paid, paid), "what sent nothing costs nothing"
    assert all(made.discarded == (made is not response) for made in bench.regions.responses)


@pytest.mark.parametrize("status", [200, 400, 429, 500, 501])
def test_other_answers_are_final(status: int) -> None:
    bench = Bench({"a": [Step(status, retry_after_s=0.1)]})
    assert bench.run(bench.ask()).status == status
    assert bench.regions.order == "a"


def test_an_answer_may_say_that_it_is_final() -> None:
    bench = Bench({"a": [Step(503, final=True)]})
    assert bench.run(bench.ask()).status == 503
    assert bench.regions.order == "a"


@pytest.mark.parametrize(
    ("method", "keyed", "tunnel", "first", "order"),
    [
        ("POST", False, False, "lost", "a"),
        ("POST", True, False, "lost", "ab"),
        ("PUT", False, False, "lost", "ab"),
        ("GET", False, True, "lost", "a"),
        ("POST", False, False, "unreachable", "ab"),
        ("POST", False, False, "refused", "ab"),
        ("GET", False, True, "unreachable", "ab"),
    ],
)
def test_what_may_have_been_executed_is_not_sent_twice(
    method: str, *, keyed: bool, tunnel: bool, first: str, order: str
) -> None:
    bench = Bench({"a": [Step(first)], "b": GOOD})
    request = bench.request(method, keyed=keyed, tunnel=tunnel)
    if order == "a":
        with pytest.raises(OutcomeUnknown):
            bench.run(bench.ask(request))
    else:
        assert bench.run(bench.ask(request)).region == "b"
    assert bench.regions.order == order


@pytest.mark.parametrize(("method", "order"), [("POST", "a"), ("GET", "ab")])
def test_a_gateway_error_of_a_write_goes_to_the_client(method: str, order: str) -> None:
    bench = Bench({"a": [Step(503)], "b": GOOD})
    bench.run(bench.ask(bench.request(method)))
    assert bench.regions.order == order


@pytest.mark.parametrize("does", [503, "lost", "unreachable"])
def test_a_body_that_is_gone_is_not_sent_again(does: int | str) -> None:
    bench = Bench({"a": [Step(does)]})
    request = bench.request(replayable=False)
    if does == 503:
        assert bench.run(bench.ask(request)).status == 503
    else:
        with pytest.raises(Failure, match=str(does)):
            bench.run(bench.ask(request))
    assert bench.regions.order == "a"


def test_a_dead_end_is_told_at_once() -> None:
    bench = Bench({"a": [Step("dead end")]})
    with pytest.raises(Failure, match="dead end"):
        bench.run(bench.ask())


def test_a_later_attempt_is_bound_by_the_same_rules() -> None:
    bench = Bench({"a": [Step("refused")], "b": [Step("lost")], "c": GOOD})
    with pytest.raises(OutcomeUnknown):
        bench.run(bench.ask(bench.request("POST")))
    assert bench.regions.order == "ab"


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_attempts_are_limited(limit: int) -> None:
    bench = Bench({region: [Step(503)] for region in "abc"})
    request = bench.request()
    assert bench.run(bench.ask(request, limit=limit)).status == 503
    assert request.attempts_made == len(bench.regions.order) == limit
    assert bench.regions.order.startswith("abc"[:limit])
    assert bench.budget.statistics().limit_exceeded == 1


def test_a_region_that_takes_nothing_gets_a_second_chance_and_no_third() -> None:
    bench = Bench({"a": [Step("unreachable", retry_after_s=1)], "b": [Step("unreachable")]})
    with pytest.raises(Failure, match="unreachable"):
        bench.run(bench.ask(regions=("a", "b")))
    assert bench.regions.order == "abab"
    assert bench.clock.now < 1, "when the client may come back is the client's matter"
    assert bench.budget.statistics().requests == 0


def test_a_region_that_refuses_and_says_when_to_come_back_is_left_alone() -> None:
    bench = Bench({"a": [Step("refused", retry_after_s=1)], "b": [Step("unreachable")]})
    with pytest.raises(Failure):
        bench.run(bench.ask(regions=("a", "b")))
    assert bench.regions.order == "abb"


@pytest.mark.parametrize("seed", range(20))
def test_a_region_is_asked_again_after_a_pause_with_full_jitter(seed: int) -> None:
    policy = RetryPolicy(base_s=0.1, cap_s=0.3)
    bench = Bench({"a": [Step(503, after_s=0.0)]}, retry=policy, seed=seed)
    bench.run(bench.ask(regions=("a",), limit=5))
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(bench.regions.begun)]
    for pause, ceiling in zip(pauses, (0.1, 0.2, 0.3, 0.3), strict=True):
        assert 0 <= pause <= ceiling


def test_pauses_differ() -> None:
    ends = set()
    for seed in range(10):
        bench = Bench({"a": [Step(503, after_s=0.0)]}, seed=seed)
        bench.run(bench.ask(regions=("a",), limit=2))
        ends.add(bench.clock.now)
    assert len(ends) == 10


def test_a_region_is_not_asked_before_it_said() -> None:
    bench = Bench({"a": [Step(503, retry_after_s=2.0), Step(200)], "b": [Step(503)]})
    response = bench.run(bench.ask(regions=("a", "b"), limit=100))
    assert (response.region, response.status) == ("a", 200)
    asked = [at for at, region in bench.regions.begun if region == "a"]
    assert asked[1] - asked[0] >= 2.0
    assert bench.regions.order.count("b") > 1, "others are asked in the meantime"


def test_what_a_region_asks_for_beyond_the_deadline_is_the_clients_to_wait_for() -> None:
    bench = Bench({"a": [Step(503, retry_after_s=5.0)]})
    response = bench.run(bench.ask(regions=("a",)))
    assert (response.status, response.retry_after_s, response.discarded) == (503, 5.0, 0)
    assert bench.clock.now == pytest.approx(0.01), "at once"


def test_without_budget_the_first_answer_is_the_last() -> None:
    bench = Bench({"a": [Step(503)], "b": GOOD}, retry=RetryPolicy(ratio=0.0, floor_per_s=0.0))
    assert bench.run(bench.ask()).status == 503
    assert bench.budget.statistics().overflow == 1
    single = Bench({"a": [Step(503)]}, retry=RetryPolicy(ratio=0.0, floor_per_s=0.0))
    single.run(single.ask(regions=("a",)))
    assert single.clock.now == pytest.approx(0.01), "nor is there a pause for nothing"
    assert single.budget.statistics().overflow == 1


def test_without_budget_what_was_not_sent_still_goes_elsewhere() -> None:
    bench = Bench({"a": [Step("refused")], "b": GOOD}, budget=NO_BUDGET)
    assert bench.run(bench.ask()).region == "b"


def test_a_paid_attempt_that_sends_nothing_is_not_charged() -> None:
    bench = Bench({"a": [Step("lost")], "b": [Step("unreachable")], "c": GOOD})
    before = bench.budget.balance
    assert bench.run(bench.ask()).region == "c"
    assert bench.budget.balance == before - 1


def test_an_answer_is_preferred_to_a_failure() -> None:
    bench = Bench({"a": [Step(503)], "b": [Step("lost")], "c": [Step("unreachable")]})
    response = bench.run(bench.ask(limit=2))
    assert (response.region, response.status, response.discarded) == ("a", 503, 0)


def test_a_forwarded_request_has_one_attempt_and_costs_nothing() -> None:
    bench = Bench({"a": [Step("lost"), Step("unreachable"), Step(503)]})
    for method, error in (("POST", OutcomeUnknown), ("GET", Failure)):
        with pytest.raises(error):
            bench.loop.run_until_complete(bench.attempts.once(bench.request(method), "a"))
    assert bench.loop.run_until_complete(bench.attempts.once(bench.request(), "a")).status == 503
    assert bench.regions.order == "aaa"
    bench.loop.close()


def test_a_cancelled_request_ends_in_its_pause_and_lets_go_of_its_answer() -> None:
    bench = Bench({"a": [Step(503, retry_after_s=2.0)]})

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await bench.ask(regions=("a",))

    bench.run(main())
    assert bench.regions.order == "a"
    assert bench.regions.responses[0].discarded == 1


def test_requests_that_fail_together_do_not_share_their_course() -> None:
    """One tenacity object for several of them would mix up their turns."""
    bench = Bench({"a": [Step(503, after_s=0.01)], "b": [Step(503, after_s=0.01)], "c": GOOD})

    async def main() -> None:
        requests = [bench.request() for _ in range(10)]
        answers = await asyncio.gather(*(bench.ask(request) for request in requests))
        assert {answer.region for answer in answers} == {"c"}
        assert {request.attempts_made for request in requests} == {3}

    bench.run(main())
    assert Counter(bench.regions.order) == {"a": 10, "b": 10, "c": 10}


@pytest.mark.parametrize("does", [503, "lost"])
@pytest.mark.parametrize("unlimited", [False, True])
def test_when_everything_fails_attempts_stay_a_share_of_requests(does: int | str, *, unlimited: bool) -> None:
    """Design, invariant 3, over every window that ends with a further attempt; and without a budget it is broken."""
    policy = RetryPolicy(ratio=0.2, floor_per_s=3.0)
    script = {region: [Step(does, after_s=0.02)] for region in "abc"}
    bench = Bench(script, retry=policy, budget=UNLIMITED if unlimited else None)
    admitted: list[float] = []

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3000):
                await asyncio.sleep(0.5 if number % 100 == 0 else 0.001)
                admitted.append(bench.clock.now)
                group.create_task(one())

    async def one() -> None:
        with suppress(Failure):
            await bench.ask()

    bench.run(main())
    further = [at for at, region in bench.regions.begun if region != "a"]
    floor = WINDOW_S * policy.floor_per_s
    broken = [
        at
        for number, at in enumerate(further)
        if number + 1 - bisect_left(further, at - WINDOW_S)
        > policy.ratio * (bisect_right(admitted, at) - bisect_left(admitted, at - WINDOW_S)) + floor
    ]
    if unlimited:
        assert len(further) == 2 * len(admitted)
        assert broken
    else:
        assert len(further) <= policy.ratio * len(admitted) + floor * (bench.clock.now // WINDOW_S + 1)
        assert not broken
        assert bench.budget.statistics().overflow > 0
