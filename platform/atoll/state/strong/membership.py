"""Which acceptors a namespace has, and how that set changes. Pure.

The set is the value of a strong register itself, under the reserved namespace `@`, kept by the very acceptors that it
names. It changes by one member at a time, in four steps, each of which may be repeated by anybody who finds it undone:

1. The register is changed to the next configuration, marked as not settled. Until it is settled nobody begins another.
2. Fence: a majority of the old members and one of the new are told of it. From then on the old configuration can
   complete nothing.
3. Rescan: every register that a majority of the old members knows is rewritten under the new configuration with its
   own value (identity transition).
4. The register is marked as settled.

Majorities of two sets that differ by one member have a member in common, so the two configurations may be in use side
by side between 1 and 2. After 3 all that was ever chosen is held by a majority of the new set, the joined member being
brought up to date on the way, so that the next change may let go of the old one. (Rystsov 2018, section 2.3, has the
rescan; one at a time is from Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 4.1.)
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from atoll.state.strong.codec import pack, unpack
from atoll.state.strong.messages import Register

RESERVED = "@"
"""The namespace of the registers that hold acceptor sets; no other namespace is called so."""
FOUNDING = 1
"""The epoch of a set that its members are still being told of; the first that is used is the next one."""
SIZES = (3, 5)
"""Members of a set at rest: they survive the loss of one, or of two."""
FORMAT = 1


class MembershipError(ValueError):
    """A change of the acceptor set that must not be; says why and what to do."""


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One acceptor: a region and the store in it. A region whose store was lost comes back as another member."""

    region: str
    identity: str

    def __str__(self) -> str:
        return f"{self.region} ({self.identity})"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The acceptor set of a namespace at one epoch."""

    namespace: str
    epoch: int
    members: tuple[Member, ...]

    @property
    def majority(self) -> int:
        """How many members make a quorum, of promises, acceptances and reads alike."""
        return len(self.members) // 2 + 1

    @property
    def founded(self) -> bool:
        """Whether every founding member has taken the set over; nothing is proposed before."""
        return self.epoch > FOUNDING

    def confirmed(self) -> Self:
        """The same set, after all its members have taken it over."""
        return replace(self, epoch=self.epoch + 1)

    def joined(self, member: Member) -> Self:
        """The next configuration, with `member`. Raises `MembershipError`."""
        if member in self.members:
            raise MembershipError(f"{member} is an acceptor of {self.namespace} already")
        if len(self.members) > SIZES[-1]:
            raise MembershipError(
                f"{self.namespace} has {len(self.members)} acceptors; let one leave before another joins"
            )
        return replace(self, epoch=self.epoch + 1, members=tuple(sorted((*self.members, member))))

    def left(self, member: Member) -> Self:
        """The next configuration, without `member`. Raises `MembershipError`."""
        if member not in self.members:
            raise MembershipError(f"{member} is no acceptor of {self.namespace}")
        if len(self.members) <= SIZES[0]:
            raise MembershipError(
                f"{self.namespace} has {len(self.members)} acceptors; let another join before one leaves"
            )
        rest = tuple(other for other in self.members if other != member)
        return replace(self, epoch=self.epoch + 1, members=rest)

    def encode(self) -> bytes:
        members = [[member.region, member.identity] for member in self.members]
        return pack([FORMAT, self.namespace, self.epoch, members])


def found(namespace: str, members: Iterable[Member]) -> Configuration:
    """The first configuration. Raises `MembershipError` unless it has 3 or 5 members, each of another region."""
    chosen = tuple(sorted(members))
    regions = [member.region for member in chosen]
    if len(chosen) not in SIZES or len(set(regions)) != len(chosen):
        raise MembershipError(
            f"{namespace} needs acceptors in {SIZES[0]} or {SIZES[1]} regions, not in {', '.join(regions) or 'none'}"
        )
    return Configuration(namespace, FOUNDING, chosen)


def parse(encoded: bytes) -> Configuration:
    """From `Configuration.encode`. Raises `ValueError` for another format."""
    form, namespace, epoch, members = unpack(encoded)
    if form != FORMAT:
        raise ValueError(
            f"an acceptor set has format {form}, and this release reads {FORMAT}: update this region first"
        )
    return Configuration(namespace, epoch, tuple(Member(*member) for member in members))


@dataclass(frozen=True, slots=True)
class Membership:
    """What the register of an acceptor set holds."""

    configuration: Configuration
    previous: Configuration | None
    """While it is not settled: the one that it follows."""

    @property
    def settled(self) -> bool:
        """Whether the last change is through, so that the next may begin."""
        return self.previous is None

    def next(self, configuration: Configuration) -> Self:
        """Begins a change. Raises `MembershipError` if another is under way."""
        if not self.settled:
            raise MembershipError(
                f"the acceptors of {self.configuration.namespace} are being changed (epoch "
                f"{self.configuration.epoch}); finish that first"
            )
        return replace(self, configuration=configuration, previous=self.configuration)

    def encode(self) -> bytes:
        previous = None if self.previous is None else self.previous.encode()
        return pack([FORMAT, self.configuration.encode(), previous])


def parse_membership(encoded: bytes) -> Membership:
    """From `Membership.encode`. Raises `ValueError` for another format."""
    form, configuration, previous = unpack(encoded)
    if form != FORMAT:
        raise ValueError(
            f"an acceptor set has format {form}, and this release reads {FORMAT}: update this region first"
        )
    return Membership(parse(configuration), None if previous is None else parse(previous))


def register_of(namespace: str) -> Register:
    """The register that holds the acceptor set of a namespace."""
    return Register(RESERVED, namespace)
