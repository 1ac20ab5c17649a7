"""Strong registers with one mechanism broken in each: what the negative controls put in the place of the real part."""

from dataclasses import dataclass, replace

from atoll.simulate.strong.world import Parts, Shape
from atoll.state.strong.acceptor import Acceptor, Record
from atoll.state.strong.membership import Configuration, Member
from atoll.state.strong.messages import Prepare, Reply, Request
from atoll.state.strong.proposer import Attempt, Held, Proposer, Reading, Transition
from atoll.state.strong.reconfiguration import Reconfiguration


class One(Configuration):
    """A set in which each member is a majority."""

    __slots__ = ()

    @property
    def majority(self) -> int:
        return 1


def one(configuration: Configuration) -> One:
    return One(configuration.namespace, configuration.epoch, configuration.members)


class QuorumOfOne(Proposer):
    """Takes one acceptor's word for a majority's."""

    __slots__ = ()

    def attempt(self, configuration: Configuration, transition: Transition) -> Attempt:
        return super().attempt(one(configuration), transition)

    def read(self, configuration: Configuration) -> Reading:
        return super().read(one(configuration))


class ReadsFromOne(Proposer):
    """Writes to a majority, and reads from whoever answers first."""

    __slots__ = ()

    def read(self, configuration: Configuration) -> Reading:
        return super().read(one(configuration))


class ReusesBallot(Proposer):
    """Keeps its promise after a failure, as gryadka does: the next changes go out under the same ballot.

    Not more than three, or a ballot that is beaten would be tried for ever.
    """

    __slots__ = ("_uses",)

    def _take(self) -> Held | None:
        self._uses = getattr(self, "_uses", 0) + 1
        if self._uses > 3:
            self._held = None
        return self._held

    def hold(self, held: Held) -> None:
        super().hold(held)
        self._uses = 0


class ForgetsPromise(Acceptor):
    """Accepts what it has promised not to accept."""

    def answer(self, request: Request) -> Reply:
        reply = super().answer(request)
        if isinstance(request.body, Prepare):
            record = self.records.get(request.body.register)
            if record is not None:
                self.records[request.body.register] = Record(record.accepted, record.accepted, record.value)
        return reply


class TwoAtOnce(Reconfiguration):
    """Lets another member join along with the one that is meant, so that old and new majorities need not meet."""

    async def join(self, member: Member) -> Configuration:
        known = (await self.membership()).configuration.members
        others = (await self.describe(f"r{number}" for number in range(5))).items()
        spare = [
            Member(region, description.identity)
            for region, description in sorted(others)
            if description.identity is not None and region not in {one.region for one in (*known, member)}
        ]

        def both(configuration: Configuration) -> Configuration:
            bigger = configuration.joined(member)
            return replace(bigger, members=tuple(sorted((*bigger.members, *spare[:1]))))

        return await self._change(both)


class NoRescan(Reconfiguration):
    """Lets the next change begin before the last one's registers are rewritten."""

    async def _rescan(self, previous: Configuration, configuration: Configuration) -> None:
        return None


class NoFence(Reconfiguration):
    """Rewrites registers while the old set may still be used."""

    async def _fence(self, previous: Configuration, configuration: Configuration) -> None:
        await self._tell(configuration, set(configuration.members) - set(previous.members))


@dataclass(frozen=True, slots=True)
class Control:
    """What is broken, and the shape of runs in which it shows soon."""

    parts: Parts
    shape: Shape
    seeds: range = range(40)
    """Among these at least one history must fail."""


CHANGING = Shape(acceptors=3, wipe=False, membership=True, loss=0.1, faults=6, keys=12, homely=0.0)

CONTROLS = {
    "quorum of 1 of 3": Control(Parts(proposer=QuorumOfOne), Shape(acceptors=3)),
    "ballot reused after a failure": Control(
        Parts(proposer=ReusesBallot),
        Shape(acceptors=3, wipe=False, membership=False, loss=0.1, homely=0.8, faults=6),
    ),
    "acceptor that forgets its promise": Control(Parts(acceptor=ForgetsPromise), Shape(acceptors=3)),
    "wiped acceptor that rejoins as itself": Control(
        Parts(wiped_keeps_identity=True), Shape(acceptors=3, wipe=True, loss=0.2)
    ),
    "reads from one acceptor": Control(Parts(proposer=ReadsFromOne), Shape(acceptors=3)),
    "members joined by two at once": Control(Parts(reconfiguration=TwoAtOnce), CHANGING, range(15, 40)),
    "no rescan": Control(Parts(reconfiguration=NoRescan), CHANGING),
    "operation ids dropped": Control(Parts(remembered=0), Shape(acceptors=3)),
}
