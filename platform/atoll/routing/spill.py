"""How much of its traffic the preferred region keeps, and who gets the rest: shares, by load and round-trip time.

The model is ServiceRouter's rings (Saokar et al., "ServiceRouter: Hyperscale and Minimal Cost Service Mesh at Meta",
OSDI '23): fill what is near, spill as it fills up. It is a closed loop: the figures are up to a second old, and several
gateways decide at once on the same ones. Three properties keep it calm.

*A goal that moving load does not move.* From the loads of all regions follows the **level**: the utilization at which
the preferred region ends up if everything above it goes where there is room. A region further out is filled up to a
goal that rises from nothing, when the level is ``spill_start``, to ``spill_full``, when the level is that; the further
out it is, the later it rises. Moving load from one region to another leaves the sum as it is, and so the level.

*Steps in proportion.* A region with 10% more than its goal is sent 10% less by everybody who sends to it, and what is
taken away goes where there is room, in proportion to the room. So gateways that see the same figures move the right
amount together, however many they are. The gain of the loop is 1, so with figures that are `d` old it is stable for
d < pi/2 x SETTLE_S, and does not overshoot for d < SETTLE_S / e.

*A band.* Load comes back once the preferred region is `hysteresis` below the level, or less full than who has it.

To wait for figures would cost errors when a region is lost. So its effect is foreseen: what the lost region had in
flight is laid on those that are left, by the same rule, at once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.routing.rank import Ranking, RegionView
from atoll.topology import RoutingPolicy

SETTLE_S = 1.0
"""Time constant of moving load. Figures are up to a second old, and smoothed: shares settle in a few seconds and hardly
overshoot. All constants here are this project's own, found by simulation (`tests/unit/test_routing_spill.py`)."""
SMOOTH_S = 0.5
"""Time constant of smoothing the loads: they are counts at one moment, and a count of 20 is off by 4 to 5 by chance."""
HOLD_S = 1.5
"""After a region has gone or come, nothing moves until its effect can be seen in the figures."""
LONGEST_STEP_S = 1.0
"""A spill that has not been looked at for longer moves as if it had been this long."""
RAMP_FLOOR = 0.1
"""A ramp starts at this share of what a region has room for (Envoy's slow start: `min_weight_percent` 10)."""
HEARD_S = 5.0
"""A gateway that has routed for so long has heard every region that was there, ten probes long: what comes now is new.
"""
REACH_MS = 75.0
"""By so many milliseconds further out, a region is filled in the next power: later, and then faster."""
BISECTIONS = 24
"""Enough to find a level to one in ten million."""
CRUMB = 0.005
"""A share that shrinks below this comes home altogether."""
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SpillStatistics:
    """A snapshot: shares by region, largest first, and the level they aim at."""

    shares: Mapping[str, float]
    level: float
    """Utilization that the preferred region is to end up with; at or below ``spill_start`` nothing spills."""
    moves: int
    """Looks at which some share was moved."""
    losses: int
    """Times that a region with a share was lost."""


@dataclass(frozen=True, slots=True)
class _Ramp:
    """A region that fills up from `base` requests in flight on, from `since` on, to what it takes at once; on `trial`
    to what there is, if that is less.
    """

    since: float
    base: float
    trial: bool = False


@dataclass(frozen=True, slots=True)
class _Lost:
    """What regions had that are not eligible any more: of this traffic, and in flight."""

    share: float
    load: float


@dataclass(frozen=True, slots=True)
class _Place:
    """An eligible region at one look. Load, capacity and ceiling are requests in flight."""

    region: str
    load: float
    capacity: float
    power: float
    """How much later it fills up than the preferred region: grows with the extra round trip, 0 for that region."""
    ceiling: float
    """The most that it is to have while it ramps, unless nobody else has room; infinite without a ramp."""
    known: bool
    """Whether load and capacity are known, or guessed."""


class Spill:
    """Shares of one kind of request (same service, same zones, same order of regions) over regions, at one gateway.

    Give every new ranking to `settle`, at least every second or so: it looks at the loads, moves shares by as much as
    the time since the last look allows, and returns the ranking with them. Nothing else needs to be called.

        spill = Spill(clock, topology.routing)
        ranking = spill.settle(rank(service, zones, views, topology.routing), views)
        first, *others = ranking.draw(chance)

    `settle_s` and `smooth_s` are there for tests that show what becomes of it without them.
    """

    __slots__ = (
        "_at",
        "_away",
        "_began",
        "_clock",
        "_hold_until",
        "_home",
        "_level",
        "_loads",
        "_losses",
        "_moves",
        "_policy",
        "_ramps",
        "_regions",
        "_settle_s",
        "_shares",
        "_smooth_s",
        "_trials",
    )

    def __init__(
        self,
        clock: Clock,
        policy: RoutingPolicy,
        *,
        settle_s: float = SETTLE_S,
        smooth_s: float = SMOOTH_S,
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._settle_s = settle_s
        self._smooth_s = smooth_s
        self._at = self._began = clock.monotonic()
        self._hold_until = self._at
        self._regions: frozenset[str] = frozenset()
        """Eligible at the last look."""
        self._away: set[str] = set()
        """Known to have been out of service: these ramp when they return."""
        self._loads: dict[str, float] = {}
        """Smoothed requests in flight of the regions whose load is known."""
        self._shares: dict[str, float] = {}
        self._ramps: dict[str, _Ramp] = {}
        self._trials: set[str] = set()
        """Regions that were slow and are tried again."""
        self._home: str | None = None
        """Preferred at the last look at which there was a choice."""
        self._level = 0.0
        self._moves = 0
        self._losses = 0

    def use(self, policy: RoutingPolicy) -> None:
        """Takes up another policy."""
        self._policy = policy

    def settle(self, ranking: Ranking, views: Sequence[RegionView]) -> Ranking:
        """Looks at the loads and returns the ranking with shares. `views` are those that it was made of."""
        now = self._clock.monotonic()
        passed = min(now - self._at, LONGEST_STEP_S)
        self._at = now
        before = dict(self._loads)
        self._measure(views, passed)
        known = {view.region: view for view in views}
        eligible = [known[region] for region in ranking.regions]
        regions = frozenset(ranking.regions)
        came = regions - self._regions
        lost = self._lost(regions, before) if regions != self._regions else None
        if lost is not None and not ranking.panic:
            self._start_ramps(eligible, lost, came if now - self._began > HEARD_S else NOBODY, now)
        self._note_who_is_away(views, regions)
        self._ramp_trials(eligible, now)
        if ranking.panic or len(eligible) < 2:
            self._shares = dict.fromkeys(ranking.regions[:1], 1.0)
            return ranking.shared(self._shares) if eligible else ranking
        places = self._places(eligible, now)
        if lost is not None and (lost.share > 0.0 or places[0].region in came):
            if lost.share > 0.0:
                self._foresee(lost, places)
            else:  # the preferred region is back, and its ramp says how much it takes at once
                self._move(places, 1.0)
            self._hold_until = now + HOLD_S
        elif self._home not in {None, places[0].region}:  # the one before has grown slow, or is fast again
            self._move(places, 1.0)
            self._hold_until = now + HOLD_S
        elif now >= self._hold_until and not self._calm(places[0]):
            self._move(places, 1.0 - math.exp(-passed / self._settle_s) if self._settle_s > 0 else 1.0)
        self._home = places[0].region
        return ranking.shared(self._shares, self._reasons(places))

    def statistics(self) -> SpillStatistics:
        shares = dict(sorted(self._shares.items(), key=lambda pair: (-pair[1], pair[0])))
        return SpillStatistics(shares, self._level, self._moves, self._losses)

    # --- What is known of the regions

    def _measure(self, views: Iterable[RegionView], passed: float) -> None:
        weight = 1.0 - math.exp(-passed / self._smooth_s) if self._smooth_s > 0 else 1.0
        loads = self._loads
        for view in views:
            if view.capacity is None:
                loads.pop(view.region, None)
                continue
            known = loads.get(view.region)
            loads[view.region] = (
                float(view.in_flight) if known is None else known + weight * (view.in_flight - known)
            )

    def _places(self, eligible: Sequence[RegionView], now: float) -> list[_Place]:
        """The eligible regions in order. One of unknown load counts as empty, and takes no more than a ramp's start."""
        nearest = eligible[0].cost_ms
        guess = max((view.capacity or 0 for view in eligible), default=0) or 1
        return [
            _Place(
                view.region,
                self._loads.get(view.region, 0.0),
                float(view.capacity or guess),
                0.0 if view is eligible[0] else 0.5 + max(0.0, view.cost_ms - nearest) / REACH_MS,
                self._ceiling(view.region, view.capacity, guess, now),
                view.capacity is not None,
            )
            for view in eligible
        ]

    def _ceiling(self, region: str, capacity: int | None, guess: int, now: float) -> float:
        if capacity is None:
            return RAMP_FLOOR * guess
        ramp = self._ramps.get(region)
        if ramp is None:
            return math.inf
        grown = (now - ramp.since) / self._policy.ramp_s
        if grown >= 1.0:
            del self._ramps[region]
            return math.inf
        top = min(capacity, self._there_is(region)) if ramp.trial else capacity
        height = max(0.0, top - ramp.base)
        return ramp.base + (RAMP_FLOOR + (1.0 - RAMP_FLOOR) * grown) * height

    def _there_is(self, region: str) -> float:
        """Requests in flight where this traffic goes, and in `region`. To be looked at anew each time: what was there
        when a trial began may have been little, or light.
        """
        return sum(self._loads.get(one, 0.0) for one in {*self._shares, region})

    # --- Regions come and go

    def _note_who_is_away(self, views: Iterable[RegionView], regions: frozenset[str]) -> None:
        """A region of which nothing was ever heard is not away: it is new, or this gateway is."""
        self._regions = regions
        self._away = {
            view.region for view in views if view.region not in regions and view.replicas is not None
        }

    def _lost(self, regions: frozenset[str], before: Mapping[str, float]) -> _Lost:
        """Takes the shares of regions that are not eligible any more."""
        gone = [region for region in self._shares if region not in regions]
        self._losses += bool(gone)
        load = sum(before.get(region, 0.0) for region in gone)
        share = sum(self._shares.pop(region) for region in gone)
        return _Lost(share if self._shares or share else 1.0, load)

    def _start_ramps(
        self, eligible: Iterable[RegionView], lost: _Lost, new: frozenset[str], now: float
    ) -> None:
        if self._policy.ramp_s <= 0.0:
            return
        for view in eligible:
            if view.region in self._away or view.region in new:
                self._ramps[view.region] = _Ramp(now, 0.0)
            elif view.capacity is not None and lost.load > RAMP_FLOOR * view.capacity:
                self._ramps.setdefault(view.region, _Ramp(now, self._loads[view.region]))

    def _ramp_trials(self, eligible: Sequence[RegionView], now: float) -> None:
        """A region that was slow may still be: that shows once it has work, so it gets a little first. A little of
        what there is, for it may have room for all of that.
        """
        trials = {view.region for view in eligible if view.tried_again}
        if self._policy.ramp_s > 0.0:
            self._ramps.update((region, _Ramp(now, 0.0, trial=True)) for region in trials - self._trials)
        self._trials = trials

    def _foresee(self, lost: _Lost, places: Sequence[_Place]) -> None:
        """Lays what the lost regions had on those that are left, where there is room."""
        if lost.share <= 0.0:
            return
        level = self._find_level(places, lost.load)
        rooms = [max(0.0, self._goal(place, level) - place.load) for place in places]
        total = sum(rooms)
        if lost.load <= 0.0 or total <= 0.0:
            rooms, total = [1.0, *(0.0 for _ in places[1:])], 1.0
        for place, room in zip(places, rooms, strict=True):
            if room > 0.0:
                self._shares[place.region] = self._shares.get(place.region, 0.0) + lost.share * room / total
        self._shares = _at_most_all(self._shares)

    # --- Load moves

    def _calm(self, home: _Place) -> bool:
        """Whether there is nothing to do, which is how it normally is."""
        self._level = self._policy.spill_start
        limit = min(home.ceiling, self._level * home.capacity)
        return home.load <= limit and self._shares.get(home.region, 0.0) >= 1.0

    def _goal(self, place: _Place, level: float) -> float:
        """Requests in flight that a region is to have at this level: it rises with the level."""
        full = self._policy.spill_full
        if level >= full:
            wanted = level * place.capacity
            if place.ceiling >= wanted:
                return wanted
            # Nobody else has room: the ceiling opens, and is gone where everybody is filled to the brim.
            opened = min(1.0, (level - full) / max(1e-6, 1.0 - full))
            return place.ceiling + opened * (wanted - place.ceiling)
        if place.power == 0.0:
            return min(place.ceiling, level * place.capacity)
        start = self._policy.spill_start
        filled = max(0.0, (level - start) / (full - start))
        return min(place.ceiling, full * math.pow(filled, place.power) * place.capacity)

    def _find_level(self, places: Sequence[_Place], more: float = 0.0) -> float:
        """The level at which what is above the goals, and `more`, finds room: the surplus falls as the level rises."""
        low = self._policy.spill_start
        if self._surplus(places, low) + more <= 0.0:
            return low
        high = max(1.0, *(place.load / place.capacity for place in places)) + more / places[0].capacity
        for _ in range(BISECTIONS):
            middle = (low + high) / 2.0
            if self._surplus(places, middle) + more > 0.0:
                low = middle
            else:
                high = middle
        return high

    def _surplus(self, places: Sequence[_Place], level: float) -> float:
        """What is to be moved less what there is room for.

        The preferred region counts either way, another one with its room, or with what it will itself want to get rid
        of: room that others are about to need is not there to be taken.
        """
        home = places[0]
        surplus = home.load - self._goal(home, level)
        for place in places[1:]:
            room = self._goal(place, level) - place.load
            if room > 0.0:
                surplus -= room
            else:
                surplus += max(0.0, place.load - level * place.capacity)
        return surplus

    def _move(self, places: Sequence[_Place], rate: float) -> None:
        """Moves `rate` of what separates the loads from their goals."""
        home = places[0]
        shares = self._shares
        if not home.known:  # without its load there is nothing to go by but nearness
            self._bring_home(home.region, rate)
            return
        level = self._level = self._find_level(places)
        back = self._back(places, level)
        at_home = shares.get(home.region, 0.0)
        from_here = home.load / at_home if at_home > RAMP_FLOOR / 2.0 else math.inf
        above = 0.0
        rooms: dict[str, float] = {}
        cuts: dict[str, float] = {}
        for place in places:
            goal = self._goal(place, level)
            share = shares.get(place.region, 0.0)
            excess = place.load - goal
            if excess > 0.0:
                above += excess if place is home else self._will_move(place, level, excess, share, from_here)
            if share > 0.0 and (excess > 0.0 or goal <= 0.0):
                cuts[place.region] = share * (1.0 if goal <= 0.0 else excess / place.load)
            room = (min(goal, back * home.capacity) if place is home else goal) - place.load
            if room > 0.0:
                rooms[place.region] = room
        room = sum(rooms.values())
        if not cuts or room <= 0.0:
            return
        scale = rate * min(1.0, room / above) if above > 0.0 else rate
        moved = 0.0
        for region, cut in cuts.items():
            shares[region] -= scale * cut
            moved += scale * cut
        for region, its in rooms.items():
            shares[region] = shares.get(region, 0.0) + moved * its / room
        self._moves += 1
        self._tidy(home.region, level)

    def _back(self, places: Sequence[_Place], level: float) -> float:
        """Utilization of the preferred region up to which load comes back to it."""
        home = places[0]
        if home.ceiling < math.inf:
            return level  # it has just returned, and is to get back what was its own
        fullest = max(
            (one.load / one.capacity for one in places if one is not home and one.region in self._shares),
            default=0.0,
        )
        return max(level - self._policy.hysteresis, min(level, fullest))

    @staticmethod
    def _will_move(place: _Place, level: float, excess: float, share: float, from_here: float) -> float:
        """Of what a region further out has above its goal: what it will send away itself, or what is from here."""
        its_own = max(0.0, place.load - level * place.capacity)
        return max(its_own, min(excess, share * from_here) if share > 0.0 else 0.0)

    def _bring_home(self, home: str, rate: float) -> None:
        shares = self._shares
        for region in shares:
            if region != home:
                shares[region] *= 1.0 - rate
        self._tidy(home, self._policy.spill_start)

    def _tidy(self, home: str, level: float) -> None:
        """Keeps the sum at one, and lets crumbs come home once nothing is to be spilled."""
        least = CRUMB if level <= self._policy.spill_start else 1e-9
        away = {region: share for region, share in self._shares.items() if region != home and share >= least}
        away = _at_most_all(away)
        self._shares = {home: 1.0} if not away else {home: max(0.0, 1.0 - sum(away.values())), **away}

    # --- In words

    def _reasons(self, places: Sequence[_Place]) -> Mapping[str, str]:
        home = places[0].region
        reasons: dict[str, str] = {}
        if self._shares.get(home, 0.0) >= 1.0 and not self._ramps:
            return reasons
        for place in places:
            share = self._shares.get(place.region, 0.0)
            words = f", takes {share:.0%}"
            if place.region == home and share < 1.0:
                to = ", ".join(one for one in self._shares if one != home)
                words = f", {1.0 - share:.0%} spilled to {to}"
            if place.region in self._ramps:
                words += ", ramping up"
            if share > 0.0 or place.region == home:
                reasons[place.region] = words
        return reasons


def _at_most_all(shares: Mapping[str, float]) -> dict[str, float]:
    """Rounding may have made their sum a little more than one."""
    whole = max(1.0, sum(shares.values()))
    return {region: share / whole for region, share in shares.items()}
