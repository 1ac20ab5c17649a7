"""How long to wait before trying again."""

from random import Random


class Backoff:
    """Exponential backoff with full jitter: waits are uniform up to a ceiling that doubles up to a cap.

    From Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants
    compared there full jitter does the least work in total, since those who wait don't come back in step.
    """

    __slots__ = ("_attempts", "_base_s", "_cap_s", "_ceiling_s", "_random")

    def __init__(self, base_s: float, cap_s: float, random: Random) -> None:
        """Ceilings go from `base_s` to `cap_s`. Raises `ValueError` unless 0 < `base_s` <= `cap_s`."""
        if not 0 < base_s <= cap_s:
            raise ValueError(
                f"backoff from {base_s} s to {cap_s} s; use a base above zero and a cap at least as large"
            )
        self._base_s = base_s
        self._cap_s = cap_s
        self._random = random
        self._ceiling_s = base_s
        self._attempts = 0

    @property
    def attempts(self) -> int:
        """Waits handed out since the last `reset`."""
        return self._attempts

    @property
    def ceiling_s(self) -> float:
        """The longest that the next wait can be, in seconds."""
        return self._ceiling_s

    def next_s(self) -> float:
        """How long to wait now, in seconds. The next ceiling is twice as high, up to the cap."""
        wait = self._random.uniform(0.0, self._ceiling_s)
        self._ceiling_s = min(self._cap_s, 2 * self._ceiling_s)
        self._attempts += 1
        return wait

    def reset(self) -> None:
        """It worked: the next failure starts from the beginning."""
        self._ceiling_s = self._base_s
        self._attempts = 0
