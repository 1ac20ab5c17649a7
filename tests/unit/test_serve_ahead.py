"""Replicas ahead of the load: raised when a region is lost, by as much as will come, and let go of again."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.serve.ahead import HOLD_S, PATIENCE_S, Ahead, RegionSeen
from atoll.topology import AutoscalingPolicy, Topology, load

LOCAL = load(Path(__file__).parents[2] / "infra/topologies/local.toml")
HERE, LOST, FAR = "us-east", "eu-west", "ap-northeast"
QUOTE = LOCAL.services["quote"].replicas
LOOK_S = 0.5


class Cell:
    """A region that looks at the others twice a second."""

    def __init__(self, region: str = HERE, topology: Topology = LOCAL) -> None:
        self.clock = ManualClock()
        self.ahead = Ahead(region, self.clock)
        self.topology = topology
        self.loads = dict.fromkeys(topology.regions, 0.0)
        self.out: set[str] = set()
        self.unheard: set[str] = set()
        self.history: list[Mapping[str, int]] = []

    def look(self, seconds: float = LOOK_S) -> Mapping[str, int]:
        """What is wanted after so long."""
        for _ in range(max(1, round(seconds / LOOK_S))):
            self.clock.advance(LOOK_S)
            seen = {
                region: RegionSeen(
                    trusted=region not in self.out,
                    in_flight={} if region in self.out else {"quote": round(count)},
                )
                for region, count in self.loads.items()
                if region not in self.unheard
            }
            self.history.append(self.ahead.look(self.topology, seen))
        return self.history[-1]

    def lose(self, *regions: str) -> Mapping[str, int]:
        self.out |= set(regions)
        return self.look()


def steady(region: str = HERE, topology: Topology = LOCAL, here: float = 10.0, there: float = 30.0) -> Cell:
    cell = Cell(region, topology)
    cell.loads |= {HERE: here, LOST: there}
    cell.look(10.0)
    return cell


def test_a_lost_regions_load_is_met_at_the_first_look_by_who_takes_it_over() -> None:
    near, far = steady(HERE), steady(FAR)
    assert near.look() == {}
    assert near.lose(LOST) == {"quote": math.ceil(40 / QUOTE.target_in_flight)}
    assert far.lose(LOST) == {}
    (raised,) = near.ahead.statistics().raises
    assert (raised.service, raised.lost, round(raised.own), round(raised.more)) == (
        "quote",
        frozenset({LOST}),
        10,
        30,
    )


def test_never_more_than_the_maximum() -> None:
    assert steady(there=1000.0).lose(LOST) == {"quote": QUOTE.maximum}


def test_what_fits_the_replicas_that_there_are_raises_nothing() -> None:
    assert steady(here=2.0, there=10.0).lose(LOST) == {}


def test_a_control_switched_off_it_never_does_anything() -> None:
    off = replace(LOCAL, autoscaling=AutoscalingPolicy(ahead=False))
    cell = steady(topology=off)
    assert cell.lose(LOST) == {}
    assert cell.ahead.statistics().raised == 0


def test_switched_off_while_it_holds_it_lets_go() -> None:
    cell = steady()
    assert cell.lose(LOST)
    cell.topology = replace(LOCAL, autoscaling=AutoscalingPolicy(ahead=False))
    assert cell.look() == {}


def test_a_planned_drain_counts_as_a_loss_and_being_drained_oneself_does_not() -> None:
    cell = steady()
    assert cell.lose(HERE) == {}
    assert cell.lose(LOST) == {}


def test_it_holds_until_the_load_is_here_and_a_while_longer() -> None:
    cell = steady()
    cell.lose(LOST)
    cell.loads[HERE] = 40.0
    cell.look(HOLD_S)  # the average takes some of it to follow
    assert cell.look() == {"quote": 3}
    assert cell.look(HOLD_S) == {}
    assert cell.look(60.0) == {}


def test_it_holds_until_the_region_is_back_and_has_ramped_up() -> None:
    cell = steady()
    cell.lose(LOST)
    cell.look(20.0)
    cell.out.clear()
    assert cell.look(LOCAL.routing.ramp_s + HOLD_S - 1.0) == {"quote": 3}
    assert cell.look(2.0) == {}


def test_a_region_that_comes_and_goes_changes_nothing() -> None:
    cell = steady()
    cell.lose(LOST)
    for _ in range(12):
        cell.out ^= {LOST}
        cell.look(2.0)
    assert {tuple(wanted.items()) for wanted in cell.history if wanted} == {(("quote", 3),)}
    first = next(index for index, wanted in enumerate(cell.history) if wanted)
    assert all(cell.history[first:])


def test_a_load_that_does_not_come_is_not_waited_for_for_ever() -> None:
    cell = steady()
    cell.lose(LOST)
    patience_s = LOCAL.steering.ttl_s + PATIENCE_S
    assert cell.look(patience_s - 2.0) == {"quote": 3}
    assert cell.look(2.0) == {}


def test_what_was_lost_before_anything_was_heard_is_not_known_to_be_lost() -> None:
    cell = Cell()
    cell.loads |= {HERE: 10.0, LOST: 30.0}
    assert cell.lose(LOST) == {}
    assert cell.look(10.0) == {}


def test_own_gateways_that_are_new_and_have_heard_nobody_lose_nobody() -> None:
    cell = steady()
    cell.unheard = {LOST, FAR}
    assert cell.look(3.0) == {}
    cell.unheard = set()
    assert cell.look(3.0) == {}
    assert cell.ahead.statistics().raised == 0


def test_two_lost_one_after_the_other_add_up() -> None:
    cell = steady()
    cell.loads[FAR] = 20.0
    cell.look(10.0)
    assert cell.lose(LOST) == {"quote": 3}
    cell.loads[HERE] = 40.0
    cell.look(10.0)
    assert cell.lose(FAR) == {"quote": 4}


@settings(max_examples=60)
@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from(["lose", "return", "load", "wait"]),
            st.sampled_from([HERE, LOST, FAR]),
            st.integers(0, 200),
        ),
        max_size=25,
    )
)
def test_whatever_happens_it_stays_in_bounds_and_ends(moves: list[tuple[str, str, int]]) -> None:
    cell = steady()
    for what, region, number in moves:
        match what:
            case "lose":
                cell.out |= {region}
            case "return":
                cell.out -= {region}
            case "load":
                cell.loads[region] = float(number)
        cell.look(number / 10 if what == "wait" else LOOK_S)
    for wanted in cell.history:
        assert all(QUOTE.minimum < count <= QUOTE.maximum for count in wanted.values())
    ups = sum(
        after.get("quote", 1) > before.get("quote", 1)
        for before, after in zip(cell.history, cell.history[1:], strict=False)
    )
    assert ups <= cell.ahead.statistics().raised
    assert cell.look(LOCAL.steering.ttl_s + PATIENCE_S + 1.0) == {}
    assert cell.ahead.statistics().raises == ()
