import itertools
import json
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from tests.unit.users_scripted import RESET, Scripted, answer, scripted

from atoll.clock import SystemClock
from atoll.geo.place import Coordinates
from atoll_services.cities import City
from loadtests.drills.record import Request, Way
from loadtests.users import visit
from loadtests.users.client import Origin
from loadtests.users.journeys import Journey, Outcome, Step, Visitor
from loadtests.users.steering import Gateway, Unsteered
from loadtests.users.visit import Manners, Surroundings, Visit

NEAR_S, FAR_S = 0.1, 0.4
DUBLIN = City(2964574, "Dublin", "IE", Coordinates(53.33, -6.25), 1_000_000)
LOOK = Step("GET", "/catalog/postcards/1", "/catalog/postcards/{id}", "catalog")
BUY = Step(
    "POST",
    "/checkout",
    "/checkout",
    "checkout",
    body=b"{}",
    key="k-1",
    criticality="critical",
    write="order/1=2",
)


class User:
    """A visit without waits: `slept` are those that it would have made."""

    def __init__(
        self,
        gateways: Callable[[], Sequence[Gateway]],
        way: Way = Way.ENTRY,
        manners: Manners | None = None,
    ) -> None:
        self.slept: list[float] = []
        self.records: list[Request] = []
        self.outcomes: list[Outcome] = []
        self.visit = Visit(
            Visitor("u-1", DUBLIN, random.Random(1)),
            Surroundings("87.32.10.20", way, gateways, {"eu-west": NEAR_S, "us-east": FAR_S}),
            manners or Manners(think_s=0.0, patience_s=5.0),
            self.records.append,
            SystemClock(),
            self._sleep,
        )

    def walk(self, *steps: Step) -> list[Request]:
        self.visit.run(self._journey(steps), SystemClock().monotonic())
        return self.records

    def waits(self) -> list[float]:
        return [pause for pause in self.slept if pause > 0.001]

    def _journey(self, steps: Sequence[Step]) -> Journey:
        for step in steps:
            self.outcomes.append((yield step))

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def at(server: Scripted, region: str = "eu-west") -> Callable[[], Sequence[Gateway]]:
    return lambda: (Gateway(region, server.origin),)


def problem(kind: str, status: int) -> bytes:
    body = json.dumps({"type": f"urn:atoll:problem:{kind}", "status": status}).encode()
    return answer(body, status, content_type="application/problem+json")


def test_what_a_user_saw_is_recorded() -> None:
    with scripted(lambda _: answer(atoll_region="eu-west", atoll_attempts="2")) as server:
        (seen,) = User(at(server)).walk(BUY)
    assert (seen.name, seen.service, seen.country, seen.way) == (
        "POST /checkout",
        "checkout",
        "IE",
        Way.ENTRY,
    )
    assert (seen.status, seen.error, seen.region, seen.attempts) == (200, "", "eu-west", 2)
    assert (seen.key, seen.tries, seen.criticality, seen.write) == ("k-1", 1, "critical", "order/1=2")
    assert seen.due_s <= seen.sent_s <= seen.ended_s
    head = server.heads[0]
    for line in (
        b"x-forwarded-for: 87.32.10.20",
        b'idempotency-key: "k-1"',
        b"atoll-criticality: critical",
        b"content-length: 2",
    ):
        assert line in head


def test_half_a_round_trip_each_way_and_one_more_to_connect() -> None:
    with scripted(lambda _: answer(atoll_region="eu-west")) as server:
        user = User(at(server))
        user.walk(LOOK, LOOK)
    assert user.waits() == pytest.approx([1.5 * NEAR_S, 0.5 * NEAR_S, 0.5 * NEAR_S, 0.5 * NEAR_S])


def test_behind_an_entry_the_way_to_a_farther_region_is_the_users_own() -> None:
    with scripted(lambda _: answer(atoll_region="us-east")) as server:
        user = User(at(server))
        user.walk(LOOK, LOOK)
    assert user.waits()[2:] == pytest.approx([0.5 * NEAR_S, FAR_S - 0.5 * NEAR_S]), (
        "the whole round trip to Virginia"
    )


def test_behind_a_regions_gateway_that_way_is_the_links() -> None:
    with scripted(lambda _: answer(atoll_region="us-east")) as server:
        user = User(at(server), Way.DNS)
        user.walk(LOOK, LOOK)
    assert user.waits()[2:] == pytest.approx([0.5 * NEAR_S, 0.5 * NEAR_S])


def test_another_gateway_is_another_connection() -> None:
    with scripted(lambda _: answer()) as first, scripted(lambda _: answer()) as second:
        steered = iter([at(first)(), at(first)(), at(second, "us-east")()])
        user = User(lambda: next(steered), Way.DNS)
        user.walk(LOOK, LOOK, LOOK)
        assert (first.connections, second.connections) == (1, 1)
        assert (len(first.heads), len(second.heads)) == (2, 1)
    assert user.waits()[4:] == pytest.approx([1.5 * FAR_S, 0.5 * FAR_S])


def test_the_session_goes_along() -> None:
    said = iter([answer(set_cookie="atoll-session=one; Path=/; HttpOnly"), answer(), answer()])
    with scripted(lambda _: next(said)) as server:
        User(at(server)).walk(LOOK, LOOK, LOOK)
        assert b"cookie" not in server.heads[0]
        assert all(b"cookie: atoll-session=one\r\n" in head for head in server.heads[1:])


@pytest.mark.parametrize(
    ("said", "status", "error"),
    [
        (problem("outcome-unknown", 502), 502, "outcome-unknown"),
        (problem("out-of-stock", 409), 409, ""),
        (answer(b"busy", 503), 503, "503"),
        (answer(b"no json", 500, content_type="application/problem+json"), 500, "500"),
        (RESET, None, "reset"),
        (b"", None, "reset"),
    ],
)
def test_a_word_for_each_failure(said: bytes, status: int | None, error: str) -> None:
    with scripted(lambda _: said) as server:
        user = User(at(server))
        (seen,) = user.walk(replace(BUY, expected=frozenset({"out-of-stock"})))
    assert (seen.status, seen.error) == (status, error)
    assert user.outcomes[0].failed == bool(error)


def test_gateways_are_told_how_long_it_may_take() -> None:
    with scripted(lambda _: answer()) as server:
        User(at(server)).walk(LOOK)
        User(at(server), manners=Manners(0.0, 5.0, timeout_s=1.5)).walk(LOOK)
        assert b"atoll-timeout" not in server.heads[0]
        assert b"\r\natoll-timeout: 1500ms\r\n" in server.heads[1]


def test_who_set_a_time_out_gives_up_when_the_word_of_its_end_does_not_come_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visit, "ON_ITS_WAY_S", 0.05)
    over = threading.Event()
    with scripted(lambda _: answer() if over.wait(20.0) else b"") as server:
        (seen,) = User(at(server), manners=Manners(0.0, 60.0, timeout_s=0.05)).walk(LOOK)
        over.set()
    assert (seen.status, seen.error) == (None, "timeout")


def nobody() -> Sequence[Gateway]:
    raise Unsteered


def test_who_is_not_steered_anywhere_says_so() -> None:
    (seen,) = User(nobody, Way.DNS).walk(LOOK)
    assert (seen.status, seen.error) == (None, "unsteered")


def test_users_who_retry_badly_send_it_again_at_once() -> None:
    said = iter([problem("overloaded", 503), problem("overloaded", 503), answer()])
    with scripted(lambda _: next(said)) as server:
        seen = User(at(server), manners=Manners(0.0, 5.0, retries=3)).walk(BUY)
    assert [one.tries for one in seen] == [1, 2, 3]
    assert [one.error for one in seen] == ["overloaded", "overloaded", ""]
    assert [one.due_s for one in seen[1:]] == [one.ended_s for one in seen[:-1]], "a retry is due at once"
    assert {one.key for one in seen} == {"k-1"}


def test_and_give_up_in_the_end() -> None:
    with scripted(lambda _: problem("overloaded", 503)) as server:
        seen = User(at(server), manners=Manners(0.0, 5.0, retries=2)).walk(LOOK)
    assert [one.tries for one in seen] == [1, 2, 3]


def test_only_those_who_fall_back_go_on_to_the_second_gateway() -> None:
    with scripted(lambda _: answer()) as server:
        dead = Gateway("eu-west", Origin("127.0.0.1", 9))
        both = (dead, Gateway("us-east", server.origin))
        (exposed,) = User(lambda: both, Way.DNS).walk(LOOK)
        (saved,) = User(lambda: both, Way.DNS, Manners(0.0, 5.0, fallback=True)).walk(LOOK)
    assert (exposed.error, saved.error) == ("refused", "")


def test_the_next_step_is_due_a_pause_after_the_answer_before_it() -> None:
    with scripted(lambda _: answer()) as server:
        user = User(at(server), manners=Manners(think_s=3.0, patience_s=5.0))
        first, second, _ = user.walk(LOOK, LOOK, LOOK)
    pause_s = second.due_s - first.ended_s
    assert pause_s > 0.0 and second.sent_s < second.due_s, "sleeping is left out here"
    assert any(abs(slept - pause_s) < 0.5 for slept in user.slept)


def test_pauses_have_the_wanted_mean() -> None:
    user = User(nobody, manners=Manners(think_s=2.0, patience_s=5.0))
    seen = user.walk(*[LOOK] * 2000)
    pauses = [later.due_s - earlier.ended_s for earlier, later in itertools.pairwise(seen)]
    assert abs(sum(pauses) / len(pauses) - 2.0) < 0.2


def test_who_is_told_to_leave_does_not_go_on() -> None:
    with scripted(lambda _: answer()) as server:
        user = User(at(server))

        def told_to_leave() -> Journey:
            yield LOOK
            user.visit.leaving = True
            yield LOOK

        user.visit.run(told_to_leave(), SystemClock().monotonic())
    assert len(user.records) == 1


def test_what_is_under_way_when_the_load_is_cut_off_is_told_of() -> None:
    class Ended(BaseException):
        """As gevent's, that ends a greenlet."""

    def ends(_: float) -> None:
        raise Ended

    with scripted(lambda _: answer()) as server:
        user = User(at(server))
        user.visit._sleep = ends
        with pytest.raises(Ended):
            user.walk(LOOK)
    (seen,) = user.records
    assert (seen.status, seen.error) == (None, "unfinished") and not user.visit.asking
