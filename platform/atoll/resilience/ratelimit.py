"""Rate limits: so many requests a second on the long run, and so many at once.

The generic cell rate algorithm (ITU-T I.371, annex A, "virtual scheduling"; for HTTP: Brandur Leach, "Rate limiting,
Cells, and GCRA", 2015). It keeps one number a key, the theoretical arrival time: when the next request would come if
they came evenly. A request may be early by what the burst allows. No window has an edge at which twice as many pass.
"""

from dataclasses import dataclass
from itertools import islice
from math import ceil

from atoll.clock import Clock
from atoll.topology import Rate

MOST_KEYS = 65_536
"""Keys remembered a limit: about 10 MB. Idle ones are forgotten first, they have their full burst anyway; then those
that came first, who get a new burst: an attacker from so many addresses needs another defence."""

DEBT_S = 1.0
"""What others used is charged up to so many seconds ahead: a count that is wrong, or comes late, blocks nobody for
longer."""

_ROUNDING_S = 1e-9


@dataclass(frozen=True, slots=True)
class RateLimitStatistics:
    """A snapshot. Counters run from the start of this process."""

    keys: int
    admitted: int
    refused: int
    charged: int
    """Requests that others admitted."""


class RateLimit:
    """One limit, for each of many keys by itself. For one event loop; not for several threads.

    Holds at once and without asking anybody. Where several gateways enforce one limit, `collect` tells what each key
    used here, to be told to the others, and `charge` takes in what it used there.
    """

    __slots__ = (
        "_admitted",
        "_arrivals",
        "_charged",
        "_clock",
        "_interval_s",
        "_most",
        "_refused",
        "_tolerance_s",
        "_used",
        "rate",
    )

    def __init__(self, clock: Clock, rate: Rate, *, shared: bool = False, most_keys: int = MOST_KEYS) -> None:
        """`shared`: `collect` will be called, so what is used is noted for it."""
        self.rate = rate
        self._clock = clock
        self._interval_s = 1.0 / rate.per_s
        self._tolerance_s = (rate.burst - 1) / rate.per_s + _ROUNDING_S
        self._most = most_keys
        self._arrivals: dict[str, float] = {}
        """Theoretical arrival times. A key that isn't here, or whose time has passed, has its full burst."""
        self._used: dict[str, int] | None = {} if shared else None
        """What keys used since the last `collect`; 0 for one that was only refused."""
        self._admitted = 0
        self._refused = 0
        self._charged = 0

    def take(self, key: str) -> float:
        """Admits a request now, which is 0.0; or does not, and returns in how many seconds one may be admitted."""
        now = self._clock.monotonic()
        arrival = self._arrivals.get(key)
        if arrival is None:
            self._make_room(now)
            arrival = now
        elif arrival < now:
            arrival = now
        else:
            early = arrival - now - self._tolerance_s
            if early > 0.0:
                self._refused += 1
                if self._used is not None:
                    self._used.setdefault(key, 0)
                return early
        self._arrivals[key] = arrival + self._interval_s
        self._admitted += 1
        if self._used is not None:
            self._used[key] = self._used.get(key, 0) + 1
        return 0.0

    def give_back(self, key: str) -> None:
        """Undoes the `take` that was just admitted: another limit refused the request."""
        self._arrivals[key] -= self._interval_s
        self._admitted -= 1
        if self._used is not None:
            self._used[key] -= 1

    def charge(self, key: str, count: int) -> None:
        """Others admitted `count` requests of this key under the same limit."""
        now = self._clock.monotonic()
        if key not in self._arrivals:
            self._make_room(now)
        arrival = max(now, self._arrivals.get(key, now))
        furthest = max(arrival, now + self._tolerance_s + DEBT_S)
        self._arrivals[key] = min(arrival + count * self._interval_s, furthest)
        self._charged += count

    def collect(self) -> dict[str, int]:
        """What keys used since this was last called: those that asked, also if they were only refused."""
        used = self._used
        if not used:
            return {}
        self._used = {}
        return used

    def left(self, key: str) -> tuple[int, int]:
        """How many requests would be admitted at once now, and in how many whole seconds it is the full burst."""
        ahead = self._arrivals.get(key, 0.0) - self._clock.monotonic()
        if ahead <= 0.0:
            return self.rate.burst, 0
        free = self._tolerance_s + self._interval_s - ahead
        return int(free / self._interval_s) if free > 0.0 else 0, ceil(ahead)

    def statistics(self) -> RateLimitStatistics:
        return RateLimitStatistics(
            keys=len(self._arrivals), admitted=self._admitted, refused=self._refused, charged=self._charged
        )

    def _make_room(self, now: float) -> None:
        """Sees to it that one more key can be kept."""
        if len(self._arrivals) < self._most:
            return
        kept = {key: arrival for key, arrival in self._arrivals.items() if arrival > now}
        if len(kept) > self._most * 7 // 8:  # an eighth at a time, so that this is rare
            kept = dict(islice(kept.items(), len(kept) - self._most * 7 // 8, None))
        self._arrivals = kept
