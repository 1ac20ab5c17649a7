"""What a transfer has to fetch: the cells of which the peer has something that we lack."""

from collections.abc import Iterator

from atoll.state import raw
from atoll.state.envelope import Envelope
from atoll.state.raw import CellValue
from atoll.state.store import CellKey, Listing
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import Dot, Vector


def newer(ours: Listing, theirs: Listing) -> tuple[CellKey, ...]:
    """The cells of `theirs` that would change ours, were they merged; both of one bucket.

    What we know and have deleted is not fetched. `Store.merge` decides by itself again, on what it then finds.
    """
    return tuple(_newer(ours, theirs))


def _newer(ours: Listing, theirs: Listing) -> Iterator[CellKey]:
    known = {cell.at: cell.data for cell in ours.cells}
    for cell in theirs.cells:
        data = known.get(cell.at)
        if data == cell.data:
            continue
        mine = None if data is None else raw.decode(cell.at.kind, data)
        if _adds(mine, ours.vector, raw.decode(cell.at.kind, cell.data)):
            yield cell.at


def _adds(ours: CellValue | None, known: Vector, theirs: CellValue) -> bool:
    match ours, theirs:
        case Envelope(), Envelope():
            return theirs.order > ours.order
        case None, Envelope():
            return not known.covers(theirs.dot)
        case Tally(), Tally():
            return theirs.seq > ours.seq
        case None, Tally():
            return True
        case _, Dots():
            return _dots_add(ours if isinstance(ours, Dots) else Dots(), known, theirs)
    return False


def _dots_add(ours: Dots, known: Vector, theirs: Dots) -> bool:
    def unknown(dot: Dot) -> bool:
        return not known.covers(dot)

    return any(map(unknown, theirs.live - ours.live)) or any(
        unknown(dot) or dot in ours.live for dot in theirs.removed - ours.removed
    )
