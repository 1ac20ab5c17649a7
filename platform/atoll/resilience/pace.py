"""Whether a region has become slower than those that its hedges go to.

How long answers take says little: it changes with what is asked for. A hedge compares two regions on the same request.
If requests have become heavier everywhere, hedges start later than what they race against, and lose. If it is the
region that is slow, most attempts become due for a hedge, and the hedges win.
"""

import math
from dataclasses import dataclass, replace

from atoll.clock import Clock

SLICE_S = 1.5
"""What is counted is one to two of these old. All constants here are this project's own."""
SLICE_ATTEMPTS = 50
"""Nor is it more than one to two times so many attempts: a region that grows slow has to be found before its slow
answers are more than one in twenty, which is when they count as usual."""
ATTEMPTS = 20
"""With fewer in the window nothing is said."""
DECIDED = 8
"""Nor with fewer hedges that won or lost."""
DUE_SHARE = 0.25
"""More than this share of the attempts became due for a hedge. By the definition of a p95 one in twenty does."""
LOST_SHARE = 0.7
"""More than this share of the decided hedges won. Where answers take what they take by chance, half of them may."""
PAUSE_S = 5.0
"""So long a slow region is passed over, and twice as long each time that it still is slow..."""
LONGEST_PAUSE_S = 60.0
"""...up to this."""
TRIAL_ATTEMPTS = 8
TRIAL_DECIDED = 4
"""What it takes to say that it still is."""
TRIAL_S = 5.0
"""So long a region that is tried again has to keep up before what its answers take counts as usual."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A region is slower than another one: the same requests take at least `seconds` longer than in `rival`."""

    rival: str
    seconds: float
    tried_again: bool = False
    """It was, and is to get a little to see whether it still is."""


@dataclass(slots=True)
class _Trial:
    """What came of a region that is tried again."""

    ends: float
    """It lasts until then at least."""
    began: int
    """Attempts before."""
    due: int = 0
    decided: int = 0
    lost: int = 0

    def failed(self, attempts: int) -> bool:
        """Whether it is still slow. That needs less to be believed than that a region has become slow."""
        enough = attempts - self.began >= TRIAL_ATTEMPTS and self.decided >= TRIAL_DECIDED
        late = self.due > DUE_SHARE * (attempts - self.began)
        return enough and late and self.lost > LOST_SHARE * self.decided

    def passed(self, attempts: int) -> bool:
        """Whether few attempts became due; or enough hedges were decided, and showed nothing."""
        made = attempts - self.began
        return made >= ATTEMPTS and (self.due <= DUE_SHARE * made or self.decided >= DECIDED)


class Pace:
    """Follows the races of one region. Add to `attempts` for every attempt that could be hedged.

    Guarantee: a region at its usual pace falls behind only after more than `DUE_SHARE` of at least `ATTEMPTS` attempts
    within 3 s became due, and hedges won more than `LOST_SHARE` of at least `DECIDED` races.
    """

    __slots__ = (
        "_before",
        "_behind",
        "_due",
        "_ends",
        "_kept_up",
        "_lost",
        "_mark",
        "_now",
        "_pause_s",
        "_trial",
        "_until",
        "attempts",
        "usual",
    )

    def __init__(self, clock: Clock) -> None:
        self.attempts = 0
        self.usual = True
        """Whether durations are those of a region that keeps up; false from a verdict until a trial has been passed."""
        self._now = clock.monotonic
        self._ends = clock.monotonic() + SLICE_S
        """When the slice does that counts go to."""
        self._mark = 0
        """`attempts` at its beginning."""
        self._due = self._lost = self._kept_up = 0
        self._before = (0, 0, 0, 0)
        """Attempts, due, lost and kept up in the slice before."""
        self._behind: Behind | None = None
        self._until = -math.inf
        self._pause_s = 0.0
        self._trial: _Trial | None = None
        """Of a region that is tried again."""

    def due(self) -> None:
        """An attempt has taken long enough for a hedge."""
        self._turn()
        self._due += 1
        if self._trial is not None:
            self._trial.due += 1

    def kept_up(self) -> None:
        """An attempt was answered before its hedge."""
        self._turn()
        self._kept_up += 1
        if self._trial is not None:
            self._trial.decided += 1

    def lost(self, rival: str, seconds: float) -> None:
        """A hedge to `rival` was answered first, though it was sent `seconds` later."""
        self._turn()
        self._lost += 1
        if self._trial is not None:
            self._trial.decided += 1
            self._trial.lost += 1
            if self._trial.failed(self.attempts):
                self._pass_over(rival, seconds)
            return
        if not self.usual:
            return  # an attempt from before the verdict
        attempts, due, lost, kept_up = self._before
        attempts += self.attempts - self._mark
        due += self._due
        lost += self._lost
        decided = lost + kept_up + self._kept_up
        if attempts < ATTEMPTS or due <= DUE_SHARE * attempts:
            return
        if decided >= DECIDED and lost > LOST_SHARE * decided:
            self._pass_over(rival, seconds)

    def _pass_over(self, rival: str, seconds: float) -> None:
        now = self._now()
        relapsed = now < self._until + 2.0 * self._pause_s + TRIAL_S
        self._pause_s = min(2.0 * self._pause_s, LONGEST_PAUSE_S) if relapsed else PAUSE_S
        self._until = now + self._pause_s
        self._behind = Behind(rival, seconds)
        self._trial = None
        self.usual = False

    @property
    def behind(self) -> Behind | None:
        """What the region is behind of, or was before it is tried again; None if it keeps up. To be looked at often."""
        if self.usual:
            return None
        now = self._now()
        if now < self._until:
            return self._behind
        if self._trial is None:
            self._trial = _Trial(now + TRIAL_S, self.attempts)
            self._clear(now)
            if self._behind is not None:
                self._behind = replace(self._behind, tried_again=True)
        elif now >= self._trial.ends and self._trial.passed(self.attempts):
            self.usual = True
            self._behind = self._trial = None
        return self._behind

    def _turn(self) -> None:
        now = self._now()
        attempts = self.attempts - self._mark
        if now < self._ends and attempts < SLICE_ATTEMPTS:
            return
        if now >= self._ends + SLICE_S:
            self._clear(now)
            return
        self._before = attempts, self._due, self._lost, self._kept_up
        self._begin(min(now, self._ends) + SLICE_S)

    def _clear(self, now: float) -> None:
        self._before = (0, 0, 0, 0)
        self._begin(now + SLICE_S)

    def _begin(self, ends: float) -> None:
        self._ends = ends
        self._mark = self.attempts
        self._due = self._lost = self._kept_up = 0
