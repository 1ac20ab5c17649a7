"""Whether a peer is believed in."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.resilience import HealthState, PeerHealth
from atoll.topology import HealthPolicy

POLICY = HealthPolicy(probe_interval_s=0.5, silence_s=1.5, recovery_probes=2)


@dataclass
class Watched:
    """A peer and the loop that probes it."""

    clock: ManualClock = field(default_factory=ManualClock)
    peer: PeerHealth = field(init=False)

    def __post_init__(self) -> None:
        self.peer = PeerHealth(self.clock, POLICY)

    def probe(self, *, answered: bool, after_s: float = 0.5) -> None:
        self.clock.advance(after_s)
        self.peer.tick()
        self.peer.probe_sent()
        if answered:
            self.peer.probe_answered()


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def healthy(watched: Watched) -> Watched:
    watched.probe(answered=True)
    assert watched.peer.healthy
    return watched


def test_nothing_is_trusted_before_it_was_heard(watched: Watched) -> None:
    assert not watched.peer.healthy
    assert watched.peer.state is HealthState.UNKNOWN
    assert watched.peer.reason == "not heard yet"


def test_the_first_probe_answered_is_enough_for_a_start(healthy: Watched) -> None:
    assert healthy.peer.reason == ""
    assert healthy.peer.since == 0.5
    assert healthy.peer.statistics().transitions == 1


def test_a_data_response_alone_gives_no_trust(watched: Watched) -> None:
    watched.peer.heard()
    assert not watched.peer.healthy


def test_refused_is_down_at_once_and_says_why(healthy: Watched) -> None:
    healthy.peer.refused("connection reset")
    assert not healthy.peer.healthy
    assert healthy.peer.reason == "connection reset"
    assert healthy.peer.statistics().refusals == 1


def test_silence_is_down_after_silence_s_and_not_before(healthy: Watched) -> None:
    for _ in range(2):
        healthy.probe(answered=False)
        assert healthy.peer.healthy
    healthy.probe(answered=False)
    assert healthy.peer.state is HealthState.DOWN
    assert healthy.peer.reason == "silent for 1.5 s"
    healthy.clock.advance(0.3)
    assert healthy.peer.reason == "silent for 1.8 s"


def test_a_peer_that_never_answers_is_down(watched: Watched) -> None:
    for _ in range(4):
        watched.probe(answered=False)
    assert watched.peer.state is HealthState.DOWN
    assert watched.peer.reason == "never heard"


def test_data_responses_keep_a_peer_healthy_whose_probes_get_lost(healthy: Watched) -> None:
    for _ in range(20):
        healthy.probe(answered=False)
        healthy.peer.probe_failed()
        healthy.peer.heard()
    assert healthy.peer.healthy
    assert healthy.peer.statistics().probes_failed == 20


def test_one_failed_probe_is_not_down(healthy: Watched) -> None:
    healthy.peer.probe_failed()
    assert healthy.peer.healthy


def test_answers_that_are_not_accepted_are_told_as_such(healthy: Watched) -> None:
    for _ in range(3):
        healthy.probe(answered=False)
        healthy.peer.probe_failed("status 401")
    healthy.probe(answered=False)
    assert healthy.peer.reason == "status 401"


def test_recovery_takes_probes_in_a_row(healthy: Watched) -> None:
    healthy.peer.refused()
    healthy.probe(answered=True)
    assert healthy.peer.reason == "connection refused; since then 1 of 2 probes answered"
    healthy.peer.probe_failed()
    healthy.probe(answered=True)
    healthy.peer.heard()
    healthy.peer.heard()
    assert healthy.peer.state is HealthState.DOWN
    healthy.probe(answered=True)
    assert healthy.peer.healthy
    assert healthy.peer.statistics().transitions == 3


def test_a_refusal_while_recovering_starts_it_over(healthy: Watched) -> None:
    healthy.peer.refused()
    healthy.probe(answered=True)
    healthy.peer.refused()
    healthy.probe(answered=True)
    assert not healthy.peer.healthy


def test_nobody_is_down_for_not_being_asked(healthy: Watched) -> None:
    for _ in range(20):
        healthy.clock.advance(0.5)
        healthy.peer.tick()
    assert healthy.peer.healthy


def test_after_a_pause_of_the_prober_its_probe_has_time_to_be_answered(healthy: Watched) -> None:
    for _ in range(20):
        healthy.clock.advance(0.5)
        healthy.peer.tick()
    healthy.probe(answered=False)
    assert healthy.peer.healthy, "silent for long, but asked only now"
    healthy.probe(answered=False)
    assert healthy.peer.healthy
    healthy.probe(answered=False)
    assert not healthy.peer.healthy


def test_a_process_that_was_suspended_calls_nobody_dead_for_it(healthy: Watched) -> None:
    healthy.probe(answered=False)
    healthy.probe(answered=False)
    healthy.probe(answered=False, after_s=3600)
    assert healthy.peer.healthy
    assert healthy.peer.statistics().stalls == 1
    healthy.probe(answered=False)
    healthy.probe(answered=True)
    assert healthy.peer.healthy


def test_a_peer_that_died_during_the_pause_is_found_after_it(healthy: Watched) -> None:
    healthy.probe(answered=False, after_s=3600)
    for _ in range(3):
        healthy.probe(answered=False)
    assert healthy.peer.state is HealthState.DOWN


@given(st.lists(st.sampled_from(("answered", "lost", "refused", "heard", "stall")), max_size=60))
def test_trust_is_given_by_probes_in_a_row_and_by_nothing_else(steps: list[str]) -> None:
    watched = Watched()
    in_a_row = 0
    for step in steps:
        before = watched.peer.healthy
        match step:
            case "answered":
                watched.probe(answered=True)
                in_a_row += 1
            case "lost":
                watched.probe(answered=False)
                watched.peer.probe_failed()
                in_a_row = 0
            case "refused":
                watched.peer.refused()
                in_a_row = 0
                assert not watched.peer.healthy
            case "heard":
                watched.peer.heard()
            case "stall":
                watched.probe(answered=False, after_s=600)
        if watched.peer.healthy and not before:
            assert step == "answered"
            assert in_a_row >= 1 if watched.peer.statistics().transitions == 1 else in_a_row >= 2
        assert watched.peer.healthy == (watched.peer.reason == "")


@given(st.lists(st.floats(0.01, 0.9), min_size=1, max_size=60))
def test_a_peer_that_answers_every_probe_stays_healthy_whatever_the_rhythm(gaps: list[float]) -> None:
    watched = Watched()
    watched.probe(answered=True)
    for gap in gaps:
        watched.probe(answered=True, after_s=gap)
        assert watched.peer.healthy


@given(st.floats(0.05, 0.5), st.floats(0.0, 0.5))
def test_silence_is_found_within_one_tick(tick_s: float, heard_after_s: float) -> None:
    clock = ManualClock()
    peer = PeerHealth(clock, POLICY, tick_s=tick_s)
    peer.probe_answered()
    clock.advance(heard_after_s)
    peer.heard()
    peer.probe_sent()
    silent_since = clock.now
    while peer.healthy:
        clock.advance(tick_s)
        peer.tick()
    assert POLICY.silence_s - 1e-9 <= clock.now - silent_since <= POLICY.silence_s + tick_s + 1e-9
