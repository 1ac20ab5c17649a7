"""Shares by load: cases, properties, and the loop closed over delayed figures; without each mechanism a test fails.

The simulation is a fluid: requests come at a rate, stay for the service time, and a region that is full turns the rest
away, which then goes on to the next region as a refused attempt does.
"""

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.routing import Ranking, RegionView, rank
from atoll.routing.pressure import Pressure
from atoll.routing.spill import HEARD_S, RAMP_FLOOR, Spill
from atoll.topology import RoutingPolicy, load

WORLD = load(Path(__file__).parents[2] / "infra/topologies/world.toml")
POLICY = RoutingPolicy()
SERVICE = replace(
    next(iter(WORLD.services.values())), regions=tuple(WORLD.regions), residency=frozenset(WORLD.zones)
)
THREE = ("us-east", "eu-west", "ap-northeast")
HOME, NEAR, FAR = THREE  # 74 and 165 ms away
CAPACITY = 100

Make = Callable[[ManualClock], Spill]


def view(region: str, utilization: float | None = 0.0, at: str = HOME, **known: object) -> RegionView:
    seen = RegionView(
        region,
        WORLD.regions[region].zone,
        WORLD.rtt_ms(at, region),
        healthy=True,
        health_reason="",
        draining=False,
        replicas=2,
        capacity=None if utilization is None else CAPACITY,
        in_flight=0 if utilization is None else round(CAPACITY * utilization),
    )
    return replace(seen, **known)  # type: ignore[arg-type]  # names and types are checked by RegionView itself


def shares(ranking: Ranking) -> dict[str, float]:
    return {one.region: one.share for one in ranking.candidates if one.share}


def settled(views: Sequence[RegionView], spill: Spill, clock: ManualClock, seconds: float = 0.0) -> Ranking:
    """What comes out after a while of looking at figures that stay as they are."""
    ranking = rank(SERVICE, SERVICE.residency, views, POLICY)
    shared = spill.settle(ranking, views)
    for _ in range(round(seconds / 0.25)):
        clock.advance(0.25)
        shared = spill.settle(ranking, views)
    return shared


class TestOneLook:
    def shares(self, *views: RegionView, seconds: float = 4.0) -> dict[str, float]:
        clock = ManualClock()
        return shares(settled(views, Spill(clock, POLICY), clock, seconds))

    def test_below_the_start_the_nearest_has_everything(self) -> None:
        assert self.shares(view(HOME, 0.6), view(NEAR), view(FAR)) == {HOME: 1.0}

    def test_above_it_the_nearer_of_the_others_gets_more(self) -> None:
        got = self.shares(view(HOME, 0.8), view(NEAR), view(FAR))
        assert 0.0 < got[FAR] < got[NEAR] < got[HOME]

    def test_a_region_that_is_as_loaded_gets_nothing(self) -> None:
        assert self.shares(view(HOME, 0.9), view(NEAR, 0.9)) == {HOME: 1.0}
        assert self.shares(view(HOME, 1.3), view(NEAR, 1.3), view(FAR, 1.4)) == {HOME: 1.0}

    def test_a_far_region_that_is_half_full_does_not_pay_yet(self) -> None:
        assert self.shares(view(HOME, 0.7), view(FAR, 0.5)) == {HOME: 1.0}
        assert FAR in self.shares(view(HOME, 1.2), view(FAR, 0.5))

    def test_a_region_of_unknown_load_gets_little(self) -> None:
        # A tenth of 100 places at most, of the 20 that are to go.
        alone = self.shares(view(HOME, 0.8), view(NEAR, None), seconds=2.0)
        assert 0.0 < alone[NEAR] < 0.2
        both = self.shares(view(HOME, 1.2), view(NEAR, None), view(FAR))
        assert both[FAR] > both[NEAR] > 0.0

    def test_without_its_own_load_the_nearest_is_taken(self) -> None:
        assert self.shares(view(HOME, None), view(NEAR)) == {HOME: 1.0}

    def test_one_region_has_everything_however_full(self) -> None:
        assert self.shares(view(HOME, 3.0)) == {HOME: 1.0}
        assert self.shares(view(HOME, 3.0), view(NEAR, replicas=0)) == {HOME: 1.0}

    def test_nobody_has_nothing(self) -> None:
        assert self.shares(view(HOME, replicas=0)) == {}

    def test_in_a_panic_load_plays_no_part(self) -> None:
        sick = [view(one, 0.9, healthy=False, health_reason="silent") for one in THREE]
        assert self.shares(*sick) == {HOME: 1.0}

    def test_the_reason_says_what_is_spilled_and_where(self) -> None:
        clock = ManualClock()
        views = [view(HOME, 0.8), view(NEAR, 0.1), view(FAR, 0.55)]
        ranking = settled(views, Spill(clock, POLICY), clock, 6.0)
        reasons = {one.region: one.reason for one in ranking.candidates}
        given_away = round(100 * (1 - shares(ranking)[HOME]))
        assert reasons[HOME] == f"ring 0, 0.0 ms, 80% full, {given_away}% spilled to {NEAR}"
        assert reasons[NEAR] == f"ring 1, 74.0 ms, 10% full, takes {given_away}%"
        assert reasons[FAR] == "ring 2, 165.0 ms, 55% full"


class TestDraw:
    def test_one_region_with_everything_is_always_the_same_tuple(self) -> None:
        ranking = settled([view(HOME), view(NEAR)], Spill(ManualClock(), POLICY), ManualClock())
        assert ranking.draw(random.Random(1)) is ranking.regions

    def test_the_first_is_drawn_by_share_and_the_rest_keeps_its_order(self) -> None:
        ranking = rank(SERVICE, SERVICE.residency, [view(one) for one in THREE], POLICY)
        drawn = ranking.shared({HOME: 0.5, FAR: 0.5})
        chance = random.Random(20261121)
        orders = [drawn.draw(chance) for _ in range(2000)]
        assert set(orders) == {(HOME, NEAR, FAR), (FAR, HOME, NEAR)}
        assert 0.45 < orders.count((FAR, HOME, NEAR)) / 2000 < 0.55


# --- Properties


@st.composite
def situations(draw: st.DrawFn) -> list[RegionView]:
    names = draw(st.lists(st.sampled_from(list(WORLD.regions)), unique=True, min_size=2, max_size=8))
    return [
        view(
            name,
            at=names[0],
            capacity=draw(st.sampled_from((None, 8, 100, 1000))),
            in_flight=draw(st.integers(0, 1500)),
            healthy=draw(st.sampled_from((True, True, True, False))),
            replicas=draw(st.sampled_from((0, 1, 5, 5))),
        )
        for name in names
    ]


@given(st.lists(situations(), min_size=1, max_size=4), st.floats(0.0, 5.0))
def test_shares_always_sum_to_one_over_eligible_regions(looks: list[list[RegionView]], step: float) -> None:
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    for views in looks:
        for _ in range(3):
            clock.advance(step)
            ranking = spill.settle(rank(SERVICE, SERVICE.residency, views, POLICY), views)
            got = shares(ranking)
            assert set(got) <= set(ranking.regions)
            assert sum(got.values()) == pytest.approx(1.0 if ranking.regions else 0.0)
            assert all(0.0 <= share <= 1.0 for share in got.values())
            assert sorted(ranking.draw(random.Random(1))) == sorted(ranking.regions)


def test_a_share_is_never_more_than_all_however_its_parts_were_rounded() -> None:
    spill = Spill(ManualClock(), POLICY)
    spill._shares = {NEAR: 1.0 + 2**-52}
    spill._tidy(HOME, POLICY.spill_start)
    assert spill._shares == {HOME: 0.0, NEAR: 1.0}


def spilled(demand: float, others: Mapping[str, float], capacity: int = 10_000) -> float:
    """The share that leaves, once the loop has settled on figures that are exact and fresh."""
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    got = {HOME: 1.0}
    for _ in range(160):
        loads = {HOME: demand * got.get(HOME, 0.0)}
        loads |= {one: its + demand * got.get(one, 0.0) for one, its in others.items()}
        views = [view(one, capacity=capacity, in_flight=round(capacity * its)) for one, its in loads.items()]
        got = shares(spill.settle(rank(SERVICE, SERVICE.residency, views, POLICY), views))
        clock.advance(0.25)
    return 1.0 - got.get(HOME, 0.0)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 2.5), st.floats(0.0, 0.2), st.floats(0.0, 0.9), st.floats(0.0, 0.9))
def test_what_leaves_grows_with_load_and_without_jumps(
    demand: float, more: float, near: float, far: float
) -> None:
    less, greater = spilled(demand, {NEAR: near, FAR: far}), spilled(demand + more, {NEAR: near, FAR: far})
    assert greater >= less - 0.01
    # The steepest possible: all that is added leaves.
    assert greater - less <= more / max(demand + more, POLICY.spill_start) + 0.02


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 2.5), st.floats(0.0, 0.9), st.floats(0.0, 0.1))
def test_what_leaves_shrinks_as_the_others_fill_up(demand: float, near: float, more: float) -> None:
    assert spilled(demand, {NEAR: near + more}) <= spilled(demand, {NEAR: near}) + 0.01


# --- The loop closed: gateways, figures on their way, requests in flight

STEP_S = 0.05
TICK_S = 0.25
REPORT_S = 0.5
DETECT_S = 0.3
"""After this long it is known that a region is gone."""


@dataclass
class Gateway:
    home: str
    number: int
    spill: Spill
    tick_at: float
    shares: dict[str, float]
    order: tuple[str, ...]


@dataclass
class Loop:
    """Gateways of every region before one service. `demand` in capacities of the region, by region and time."""

    demand: Callable[[str, float], float]
    regions: Sequence[str] = THREE
    gateways: int = 2
    service_s: float = 0.2
    seed: int = 20261121
    up: Callable[[str, float], bool] = lambda _region, _time: True
    make: Make = lambda clock: Spill(clock, POLICY)
    knows_siblings: bool = True
    entry: bool = False
    """Whether gateways stand outside the regions: all figures are delayed, and they survive their region."""
    capacity: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.chance = random.Random(self.seed)
        self.held: dict[tuple[int, str], float] = {}
        self.all = [
            Gateway(region, number, self.make(self.clock), self.chance.random() * TICK_S, {region: 1.0}, ())
            for region in self.regions
            for number in range(self.gateways)
        ]
        count = range(len(self.all))
        self.held = {(one, region): 0.0 for one in count for region in self.regions}
        self.reported = dict.fromkeys(itertools.product(count, count), 0.0)
        self.report_at = {pair: self.chance.random() * REPORT_S for pair in self.reported}
        self.under_way: list[tuple[float, tuple[int, int], float]] = []
        self.loads: list[dict[str, float]] = []
        """Utilization of each region at each step."""
        self.given: list[list[dict[str, float]]] = []
        """Shares of each gateway at each step."""
        self.turned_away: list[float] = []
        """Requests that found no place in the first region that was drawn."""
        self.shed: list[float] = []
        """Requests that found no place anywhere."""

    def places(self, region: str) -> int:
        return self.capacity.get(region, CAPACITY)

    def load(self, region: str) -> float:
        return sum(self.held[one, region] for one in range(len(self.all)))

    def run(self, seconds: float) -> "Loop":
        for _ in range(round(seconds / STEP_S)):
            self.turned_away.append(0.0)
            self.shed.append(0.0)
            self._flow()
            self.clock.advance(STEP_S)
            self._report()
            for index, gateway in enumerate(self.all):
                if self.clock.now >= gateway.tick_at:
                    gateway.tick_at += TICK_S
                    self._look(index, gateway)
            self.loads.append({one: self.load(one) / self.places(one) for one in self.regions})
            self.given.append([dict(gateway.shares) for gateway in self.all])
        return self

    def _flow(self) -> None:
        stays = math.exp(-STEP_S / self.service_s)
        for (index, region), held in self.held.items():
            self.held[index, region] = held * stays if self.up(region, self.clock.now) else 0.0
        for index, gateway in enumerate(self.all):
            if not self.entry and not self.up(gateway.home, self.clock.now):
                continue
            wanted = self.demand(gateway.home, self.clock.now) * self.places(gateway.home) / self.gateways
            for first, share in gateway.shares.items():
                self._send(index, (first, *(one for one in gateway.order if one != first)), wanted * share)

    def _send(self, index: int, order: Sequence[str], steady: float) -> None:
        """Requests of which `steady` would be in flight if they came on and on."""
        left = steady * (1.0 - math.exp(-STEP_S / self.service_s))
        for region in order:
            if left <= 0.0:
                return
            if self.up(region, self.clock.now):
                taken = min(left, max(0.0, self.places(region) - self.load(region)))
                self.held[index, region] += taken
                left -= taken
            if region == order[0]:
                self.turned_away[-1] += left
        self.shed[-1] += left

    def _report(self) -> None:
        now = self.clock.now
        for (reader, writer), due in self.report_at.items():
            region = self.all[writer].home
            if now >= due and self.up(region, now):
                self.report_at[reader, writer] = now + REPORT_S
                one_way = WORLD.rtt_ms(self.all[reader].home, region) / 2000
                self.under_way.append((now + one_way, (reader, writer), self.load(region) / self.gateways))
        for due, pair, told in self.under_way:
            if due <= now:
                self.reported[pair] = told
        self.under_way = [item for item in self.under_way if item[0] > now]

    def _look(self, index: int, gateway: Gateway) -> None:
        views = []
        for region in self.regions:
            load = 0.0
            for other, writer in enumerate(self.all):
                if writer.home != region:
                    continue
                if other == index and not self.entry:
                    load += self.load(region) / self.gateways
                elif self.knows_siblings or region != gateway.home:
                    load += self.reported[index, other]
            up = self.up(region, self.clock.now - DETECT_S)
            views.append(
                view(
                    region,
                    at=gateway.home,
                    healthy=up,
                    health_reason="" if up else "gone",
                    capacity=self.places(region),
                    in_flight=round(load),
                )
            )
        ranking = gateway.spill.settle(rank(SERVICE, SERVICE.residency, views, POLICY), views)
        gateway.order = ranking.regions
        gateway.shares = shares(ranking)

    def between(self, start_s: float, end_s: float) -> slice:
        return slice(round(start_s / STEP_S), round(end_s / STEP_S))

    def share(self, region: str, of: str, number: int = 0) -> list[float]:
        """The share that `region` has of what comes to one gateway of `of`, at each step."""
        index = next(i for i, one in enumerate(self.all) if (one.home, one.number) == (of, number))
        return [given[index].get(region, 0.0) for given in self.given]


def steps(
    before: Mapping[str, float], after: Mapping[str, float], at_s: float = 5.0
) -> Callable[[str, float], float]:
    return lambda region, time: (after if time >= at_s else before).get(region, 0.3)


def swing(values: Sequence[float]) -> float:
    return max(values) - min(values)


def test_below_the_start_nothing_ever_spills() -> None:
    """Sawtooth from 10% to 55%."""
    loop = Loop(lambda region, time: 0.1 + 0.45 * ((time + len(region)) % 8) / 8).run(30)
    for them in loop.given:
        assert them == [{gateway.home: 1.0} for gateway in loop.all]


class Proportional(Spill):
    """What comes to mind first: the fuller the region, the more goes elsewhere, as its figures say at this moment."""

    def settle(self, ranking: Ranking, views: Sequence[RegionView]) -> Ranking:
        home, *others = ranking.regions
        load = next(one.utilization or 0.0 for one in views if one.region == home)
        span = POLICY.spill_full - POLICY.spill_start
        away = min(1.0, max(0.0, (load - POLICY.spill_start) / span))
        return ranking.shared({home: 1.0 - away} | {one: away / len(others) for one in others})


def check_calm_after_a_step(make: Make, regions: Sequence[str], seed: int) -> None:
    """A step of load to 1.4 in one region and 1.0 in another; 15 s later no share moves by more than 4 points."""
    loop = Loop(steps({}, {HOME: 1.4, NEAR: 1.0}), regions=regions, make=make, seed=seed).run(40)
    for gateway in loop.all:
        for region in regions:
            moved = swing(loop.share(region, gateway.home, gateway.number)[loop.between(20, 40)])
            assert moved <= 0.04, (
                f"seed {seed}: {gateway.home} moves {moved:.0%} of its traffic to and from {region}"
            )


SEVERAL = (THREE, tuple(WORLD.regions)[:6])


@pytest.mark.parametrize("regions", SEVERAL, ids=len)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_a_step_shares_come_to_rest(regions: Sequence[str], seed: int) -> None:
    check_calm_after_a_step(lambda clock: Spill(clock, POLICY), regions, seed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shares_that_follow_the_figures_swing(seed: int) -> None:
    with pytest.raises(AssertionError, match="to and from"):
        check_calm_after_a_step(lambda clock: Proportional(clock, POLICY), THREE, seed)


def check_calm_under_chance(make: Make, seed: int) -> None:
    """A load of 62% of 50 places, in counts that chance shakes: shares don't follow them."""
    chance = random.Random(seed)
    clock = ManualClock()
    spill = make(clock)
    kept = [1.0]
    for _ in range(400):
        means = {HOME: 31.0 * kept[-1], NEAR: 5.0 + 31.0 * (1.0 - kept[-1])}
        views = [
            view(one, capacity=50, in_flight=max(0, round(chance.gauss(mean, math.sqrt(mean)))))
            for one, mean in means.items()
        ]
        kept.append(shares(spill.settle(rank(SERVICE, SERVICE.residency, views, POLICY), views))[HOME])
        clock.advance(0.25)
    moved = sum(abs(one - other) for one, other in itertools.pairwise(kept))
    assert moved < 0.3, f"seed {seed}: in 100 s {moved:.0%} of the traffic was moved"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shares_do_not_follow_chance(seed: int) -> None:
    check_calm_under_chance(lambda clock: Spill(clock, POLICY), seed)


@pytest.mark.parametrize(
    "make",
    [
        lambda clock: Spill(clock, POLICY, settle_s=0.0, smooth_s=0.0),
        lambda clock: Spill(clock, replace(POLICY, hysteresis=0.0)),
    ],
    ids=["undamped", "no band"],
)
def test_without_damping_or_without_the_band_they_do(make: Make) -> None:
    with pytest.raises(AssertionError, match="of the traffic was moved"):
        check_calm_under_chance(make, 0)


def check_nobody_is_full_while_another_has_room(make: Make, after_s: float = 8.0) -> None:
    """Load comes in ramps and saws that all regions together can take: after the reaction time no place is missing."""

    def demand(region: str, time: float) -> float:
        if region == HOME:
            return min(1.6, 0.3 + max(0.0, time - 3.0) * 0.1)
        return 0.2 + 0.4 * (time % 20) / 20 if region == NEAR else 0.3

    loop = Loop(demand, make=make).run(60)
    late = loop.between(3.0 + after_s, 60)
    assert sum(loop.turned_away[late]) == 0.0, "a region is full while another has room"
    assert max(load[HOME] for load in loop.loads[loop.between(25, 60)]) < POLICY.spill_full


def test_nobody_is_full_while_another_has_room() -> None:
    check_nobody_is_full_while_another_has_room(lambda clock: Spill(clock, POLICY))


class NearestOnly(Spill):
    """Knows no load."""

    def settle(self, ranking: Ranking, views: Sequence[RegionView]) -> Ranking:
        return ranking.shared({ranking.regions[0]: 1.0})


def test_the_nearest_alone_would_be_full() -> None:
    with pytest.raises(AssertionError, match="full while another has room"):
        check_nobody_is_full_while_another_has_room(lambda clock: NearestOnly(clock, POLICY))


@pytest.mark.parametrize("hot", [3, 9])
def test_many_that_spill_to_one_do_not_topple_it(hot: int) -> None:
    regions = tuple(WORLD.regions)[: hot + 1]
    cold = regions[-1]
    loop = Loop(
        lambda region, time: 0.1 if region == cold or time < 5 else 0.95, regions=regions, gateways=1
    ).run(40)
    assert max(load[cold] for load in loop.loads) < POLICY.spill_full
    assert loop.loads[-1][cold] > 0.4, "it takes what it can"
    assert swing([load[cold] for load in loop.loads[loop.between(25, 40)]]) < 0.1


def test_a_small_region_is_not_flooded_by_a_large_one() -> None:
    loop = Loop(
        steps({HOME: 0.3, NEAR: 0.3}, {HOME: 0.9, NEAR: 0.3}),
        regions=(HOME, NEAR),
        capacity={HOME: 1000, NEAR: 20},
    ).run(40)
    assert 0.4 < loop.loads[-1][NEAR] < POLICY.spill_full
    assert max(load[NEAR] for load in loop.loads) < 1.0


def test_load_comes_home_below_the_band_and_not_above() -> None:
    loop = Loop(
        lambda region, time: {HOME: 1.2 if 5 <= time < 20 else 0.58 if time < 40 else 0.4}.get(region, 0.1)
    ).run(60)
    kept = loop.share(HOME, HOME)
    assert min(kept[loop.between(15, 20)]) < 0.7
    # 58% is under the start, but not under the start less the band: some stays away until the load is 40%.
    assert 0.8 < kept[loop.between(39, 40)][0] < 1.0
    assert swing(kept[loop.between(32, 40)]) < 0.02
    assert kept[-1] == 1.0


# --- A region dies and returns

DIES_S, RETURNS_S = 10.0, 30.0


def outage(region: str, time: float) -> bool:
    return region != HOME or not DIES_S <= time < RETURNS_S


def without_ramp(clock: ManualClock) -> Spill:
    return Spill(clock, replace(POLICY, ramp_s=0.0))


def dies_and_returns(make: Make) -> Loop:
    return Loop(
        lambda region, _: {HOME: 0.58, NEAR: 0.5}.get(region, 0.2), up=outage, make=make, entry=True
    ).run(60)


def check_a_returned_region_is_ramped(make: Make) -> None:
    loop = dies_and_returns(make)
    for at in (0.5, 1.0, 2.0, 3.0, 4.0, 5.0):
        load = loop.loads[loop.between(RETURNS_S + at, 60)][0][HOME]
        assert load < RAMP_FLOOR + at / POLICY.ramp_s, (
            f"the returned region had {load:.0%} after {at} s, all at once"
        )
    assert loop.loads[-1][HOME] > 0.5, "it got its own back in the end"


def test_a_returned_region_is_ramped() -> None:
    check_a_returned_region_is_ramped(lambda clock: Spill(clock, POLICY))


def test_without_a_ramp_it_gets_all_at_once() -> None:
    with pytest.raises(AssertionError, match="all at once"):
        check_a_returned_region_is_ramped(without_ramp)


def test_what_a_lost_region_had_is_shared_out_at_once_and_topples_nobody() -> None:
    loop = dies_and_returns(lambda clock: Spill(clock, POLICY))
    after = loop.between(DIES_S + DETECT_S + TICK_S, RETURNS_S)
    assert max(max(load.values()) for load in loop.loads[after]) < POLICY.spill_full
    assert sum(loop.turned_away[after]) == 0.0
    assert sum(loop.shed) == 0.0
    # Nobody waited for figures: right after the loss the shares are about those that stay.
    shortly, later = (
        loop.share(FAR, HOME)[loop.between(at, at + 1)][0] for at in (DIES_S + 0.6, RETURNS_S - 1)
    )
    assert abs(shortly - later) < 0.15


class BlindToLoss(Spill):
    """Sees the loss of a region by its effect alone."""

    def _foresee(self, lost: object, places: Sequence[object]) -> None:
        self._shares = {places[0].region: 1.0}  # type: ignore[attr-defined]


def test_without_foresight_the_next_one_is_toppled() -> None:
    loop = dies_and_returns(lambda clock: BlindToLoss(clock, POLICY))
    assert sum(loop.turned_away[loop.between(DIES_S + DETECT_S + TICK_S, RETURNS_S)]) > 0.0


def test_a_ramp_never_costs_an_error() -> None:
    """The others are full: the returned region takes all that they can't, at once."""
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    down = [view(HOME, healthy=False, health_reason="gone"), view(NEAR, 1.3), view(FAR, 1.3)]
    settled(down, spill, clock, 5.0)
    back = [view(HOME), view(NEAR, 1.3), view(FAR, 1.3)]
    # What was over in each of the others, about a quarter of what it had.
    assert shares(settled(back, spill, clock))[HOME] > 0.2


def test_the_only_region_left_takes_everything_at_once() -> None:
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    settled([view(HOME, replicas=0), view(NEAR, 0.5)], spill, clock, 2.0)
    assert shares(settled([view(HOME), view(NEAR, 0.5, healthy=False)], spill, clock)) == {HOME: 1.0}


def heard_first_after(seconds: float) -> dict[str, float]:
    """Shares at the moment at which a gateway that has routed for so long first hears the nearest region."""
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    unheard = view(HOME, None, healthy=False, health_reason="not heard yet", replicas=None)
    assert shares(settled([unheard, view(NEAR, 0.5)], spill, clock, seconds)) == {NEAR: 1.0}
    return shares(settled([view(HOME), view(NEAR, 0.5)], spill, clock))


def test_a_region_that_is_new_is_ramped_and_not_one_that_a_new_gateway_hears_first() -> None:
    assert heard_first_after(HEARD_S / 2) == {HOME: 1.0}
    assert 0.0 < heard_first_after(2 * HEARD_S)[HOME] <= RAMP_FLOOR / 0.5 + 0.01


def test_replicas_that_come_up_where_there_were_none_are_ramped() -> None:
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    settled([view(HOME, replicas=0), view(NEAR, 0.5)], spill, clock, 2.0)
    first = shares(settled([view(HOME), view(NEAR, 0.5)], spill, clock))
    assert 0.0 < first[HOME] <= RAMP_FLOOR / 0.5 + 0.01, "a tenth of its places, of the 50 in flight"


# --- Two gateways of one region


def check_siblings_agree(*, knows_siblings: bool) -> None:
    loop = Loop(steps({}, {HOME: 1.4}), knows_siblings=knows_siblings).run(40)
    apart = [
        abs(one - other)
        for one, other in zip(loop.share(HOME, HOME, 0), loop.share(HOME, HOME, 1), strict=True)
    ]
    assert max(apart) < 0.15
    assert max(apart[-100:]) < 0.05
    assert loop.loads[-1][HOME] < POLICY.spill_full, "each thought that the region was half as full"


def test_two_gateways_of_a_region_agree() -> None:
    check_siblings_agree(knows_siblings=True)


def test_who_counts_its_own_requests_alone_takes_the_region_for_empty() -> None:
    with pytest.raises(AssertionError, match="half as full"):
        check_siblings_agree(knows_siblings=False)


# --- Pressure


SHARE = 0.7
"""Of a region's capacity, for the least critical."""


class Forgetful(Pressure):
    """Goes by what is in flight now."""

    __slots__ = ()

    def look(self, ranking: Ranking, views: Sequence[RegionView], share: float) -> float:
        self._demand = 0.0
        return super().look(ranking, views, share)


class TestPressure:
    def look(self, pressure: Pressure, *views: RegionView) -> float:
        return pressure.look(rank(SERVICE, SERVICE.residency, views, POLICY), views, SHARE)

    def after_a_loss(self, pressure: Pressure, left: float) -> float:
        """The pressure once the first of three regions, all filled by 0.8, is gone, and the others are filled so."""
        self.look(pressure, *(view(one, 0.8) for one in THREE))
        return self.look(pressure, view(HOME, 0.8, healthy=False), view(NEAR, 0.8), view(FAR, left))

    def test_demand_by_capacity_of_those_that_may_serve(self) -> None:
        pressure = Pressure(ManualClock())
        assert self.look(pressure, view(HOME, 0.8), view(NEAR, 0.4)) == pytest.approx(0.6)
        assert self.look(pressure, view(HOME, 0.9), view(NEAR, 0.9), view(FAR, None)) == pytest.approx(0.6)
        assert self.look(pressure, view(HOME, 1.3), view(NEAR, 0.9)) == pytest.approx(1.1)
        assert self.look(Pressure(ManualClock()), view(HOME, None)) == 0.0

    def test_what_a_lost_region_had_counts_on_for_a_while(self) -> None:
        clock = ManualClock()
        pressure = Pressure(clock)
        assert self.after_a_loss(pressure, 0.8) == pytest.approx(1.2), "the survivors are about to be toppled"
        clock.advance(10.0)
        left = [view(HOME, 0.8, healthy=False), view(NEAR, 0.8), view(FAR, 0.8)]
        assert self.look(pressure, *left) == pytest.approx(0.8)

    def test_control_without_a_memory_the_survivors_are_warned_too_late(self) -> None:
        assert self.after_a_loss(Forgetful(ManualClock()), 0.8) < 1.0

    def test_what_may_come_turns_nobody_away_for_whom_there_is_a_place(self) -> None:
        """A region that is only cut off foresees the requests of all others, and they will not come."""
        assert self.after_a_loss(Pressure(ManualClock()), SHARE) > 1.0
        assert self.after_a_loss(Pressure(ManualClock()), SHARE - 0.01) == 1.0
        pressure = Pressure(ManualClock())
        self.look(pressure, *(view(one, 0.8) for one in THREE))
        cut_off = [view(HOME, 0.2), view(NEAR, None, healthy=False), view(FAR, None, healthy=False)]
        assert self.look(pressure, *cut_off) == 1.0

    def test_a_region_of_unknown_load_counts_as_one_with_a_place(self) -> None:
        pressure = Pressure(ManualClock())
        self.look(pressure, *(view(one, 1.0) for one in THREE))
        left = [view(HOME, 1.0, healthy=False), view(NEAR, 1.0), view(FAR, None)]
        assert self.look(pressure, *left) == 1.0


def test_a_region_that_has_grown_slow_is_left_at_the_next_look_and_taken_up_again() -> None:
    """Neither takes the second or so that shares by load take: nothing is gained by being slow for longer."""
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    usual = [view(HOME, 0.3), view(NEAR, 0.1), view(FAR)]
    assert shares(settled(usual, spill, clock, 5.0)) == {HOME: 1.0}
    slow = [view(HOME, 0.3, delay_ms=670.0), view(NEAR, 0.1), view(FAR)]
    clock.advance(0.25)
    left = spill.settle(rank(SERVICE, SERVICE.residency, slow, POLICY), slow)
    assert HOME not in shares(left)
    assert left.regions[0] == NEAR
    (reason,) = [one.reason for one in left.candidates if one.region == HOME]
    assert "670 ms slower than usual" in reason
    still = [view(HOME, 0.0, delay_ms=670.0), view(NEAR, 0.4), view(FAR)]
    assert HOME not in shares(settled(still, spill, clock, 10.0))
    clock.advance(0.25)
    healed = [view(HOME), view(NEAR, 0.4), view(FAR)]
    assert shares(spill.settle(rank(SERVICE, SERVICE.residency, healed, POLICY), healed))[HOME] > 0.9


def test_a_region_that_is_slow_but_still_the_fastest_keeps_its_traffic() -> None:
    clock = ManualClock()
    views = [view(HOME, 0.3, delay_ms=60.0), view(NEAR), view(FAR)]
    assert shares(settled(views, Spill(clock, POLICY), clock, 5.0)) == {HOME: 1.0}


def test_a_region_that_is_tried_again_gets_a_tenth_of_what_there_is_and_then_more() -> None:
    """What it has room for would be too much: it may have room for everything, and still be slow."""
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    slow = [view(HOME, 0.0, delay_ms=670.0), view(NEAR, 0.05), view(FAR)]
    assert HOME not in shares(settled(slow, spill, clock, 5.0))
    again = [view(HOME, 0.0, tried_again=True), view(NEAR, 0.05), view(FAR)]
    clock.advance(0.25)
    first = shares(spill.settle(rank(SERVICE, SERVICE.residency, again, POLICY), again))
    assert 0.05 < first[HOME] < 0.2
    calm = [view(HOME, 0.05), view(NEAR), view(FAR)]
    assert shares(settled(calm, spill, clock, 2 * POLICY.ramp_s)) == {HOME: 1.0}


def tried_under_growing_demand() -> list[float]:
    """What a region gets, a look a quarter of a second, that is tried again while next to nothing is asked; from two
    seconds on requests are twenty times as many, or as heavy. Load follows the shares at the next look.
    """
    clock = ManualClock()
    spill = Spill(clock, POLICY)
    demand = 0.01
    slow = [view(HOME, 0.0, delay_ms=670.0), view(NEAR, demand), view(FAR)]
    now = shares(settled(slow, spill, clock, 5.0))
    told = []
    for look in range(int(4 * POLICY.ramp_s)):
        if look == 8:
            demand *= 20
        views = [
            view(HOME, demand * now.get(HOME, 0.0), tried_again=True),
            view(NEAR, demand * now.get(NEAR, 0.0)),
            view(FAR, demand * now.get(FAR, 0.0)),
        ]
        clock.advance(0.25)
        now = shares(spill.settle(rank(SERVICE, SERVICE.residency, views, POLICY), views))
        told.append(now.get(HOME, 0.0))
    return told


def test_a_region_that_is_tried_again_gets_its_part_of_what_there_is_now() -> None:
    """It is a part of the traffic, and not so many requests in flight as a part was when the trial began."""
    told = tried_under_growing_demand()
    assert min(told[8:]) > 0.3
    assert min(told[28:]) > 0.6
    assert told[-1] > 0.85


def test_control_a_part_of_what_there_was_is_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spill, "_there_is", lambda *_: 0.01 * CAPACITY)
    assert min(tried_under_growing_demand()[8:]) < 0.1
