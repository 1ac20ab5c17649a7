"""When a load has settled: Serve has the replicas that it wants for it. Starting some takes a processor for seconds, so
that what is measured meanwhile is the start. Sans-I/O.
"""

from atoll.cell.status import RunStatus
from loadtests.drills.calm import scaling

STILL_S = 10.0
"""For so long no replica may have come or gone: Serve decides on what it sees for a few seconds."""
LONGEST_S = 90.0
"""What still scales then is measured as it is."""


class Settling:
    """Follows one load from its beginning. Times are seconds of any one clock."""

    def __init__(self, began: float, least_s: float) -> None:
        """It takes `least_s` at least, and `LONGEST_S`, or `least_s` if that is more, at most."""
        self._earliest = began + least_s
        self._latest = began + max(least_s, LONGEST_S)
        self._still_since = began
        self._targets: dict[tuple[str, str], int] = {}

    def saw(self, now: float, status: RunStatus) -> bool:
        """Whether the load has settled."""
        targets = {
            (name, service): count.target
            for name, region in status.regions.items()
            for service, count in region.replicas.items()
        }
        if targets != self._targets or scaling(status):
            self._targets, self._still_since = targets, now
        return now >= self._latest or (now >= self._earliest and now - self._still_since >= STILL_S)
