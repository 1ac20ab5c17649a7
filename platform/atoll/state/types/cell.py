"""The last-writer-wins cell of registers and maps: LWW-register of Shapiro et al., 2011, specification 8."""

from atoll.state.envelope import Envelope


def join(ours: Envelope, theirs: Envelope) -> Envelope:
    """The later write, by `Envelope.order`."""
    return theirs if theirs.order > ours.order else ours
