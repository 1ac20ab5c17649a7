"""How busy the machine is: the share of all its processors' time that anybody uses."""

from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
IDLE_FIELDS = (3, 4)
"""Of the first line of ``/proc/stat``: idle, and waiting for a disk (proc(5))."""
COUNTED_FIELDS = 8
"""Guests' time, in the fields behind these, is counted in the ones before already."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """Processor time of the whole machine since its boot, in clock ticks."""

    used: int
    all: int

    def busy_since(self, before: "Ticks") -> float:
        """The share of the time between two readings that was used; 0 if there was none."""
        passed = self.all - before.all
        return (self.used - before.used) / passed if passed > 0 else 0.0


def read_ticks(text: str) -> Ticks:
    """From the text of ``/proc/stat``. Pure."""
    fields = [int(field) for field in text.splitlines()[0].split()[1 : 1 + COUNTED_FIELDS]]
    return Ticks(sum(fields) - sum(fields[number] for number in IDLE_FIELDS), sum(fields))


class Processor:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._ticks = read_ticks(STAT.read_text())

    def busy(self) -> float:
        """The share of the processors' time that anybody used since the call before."""
        before, self._ticks = self._ticks, read_ticks(STAT.read_text())
        return self._ticks.busy_since(before)
