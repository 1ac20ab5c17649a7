"""Which topology may follow another one while a deployment runs, or over the data that it left."""

from collections.abc import Collection, Mapping
from typing import Protocol

from atoll.topology.model import Topology
from atoll.topology.namespaces import Backend, Level


class SuccessionError(Exception):
    """A sound topology that can't follow the one in force; says why, and what to do."""


class Kept(Protocol):
    """What of a namespace must stay."""

    @property
    def level(self) -> Level: ...

    @property
    def backend(self) -> Backend | None: ...

    @property
    def acceptors(self) -> tuple[str, ...]: ...


def check_succession(current: Topology, candidate: Topology, running: Collection[str] | None = None) -> None:
    """Raises `SuccessionError` if `candidate` can't be taken up where `current` is in force. `running` are the regions
    that there are addresses for; None: those of `current`.
    """
    if candidate.name != current.name:
        raise SuccessionError(f"the file is now named {candidate.name!r}, this run is {current.name!r}")
    if candidate.revision < current.revision:
        raise SuccessionError(
            f"revision {candidate.revision} is older than {current.revision}, which is in force; count it up"
        )
    check_running(current.regions if running is None else running, candidate)
    check_namespaces(current.namespaces, candidate.namespaces)


def check_running(running: Collection[str], candidate: Topology) -> None:
    """Raises `SuccessionError` if `candidate` has other regions than those that run: only who starts and ends them can
    take it up, and all others wait for that.
    """
    if changed := sorted(candidate.regions.keys() ^ set(running)):
        raise SuccessionError(
            f"regions were added or removed ({', '.join(changed)}); nothing of the file is taken up before `atoll up` "
            "has started or ended them"
        )


def check_regions(current: Topology, candidate: Topology) -> None:
    """Raises `SuccessionError` if the regions of a run on one machine can't become those of `candidate` while traffic
    runs. Both are sound by themselves, and `candidate` follows `current` otherwise.
    """
    check_joining_and_leaving(current, candidate)
    for name, region in current.regions.items():
        stays = candidate.regions.get(name, region)
        if (stays.gateways, stays.zone, stays.stores) != (region.gateways, region.zone, region.stores):
            raise SuccessionError(
                f"regions.{name} would have another zone, other stores or another number of gateways; that needs "
                "`atoll down` and `atoll up`, so leave it as it is while regions are added or removed"
            )


def check_joining_and_leaving(current: Topology, candidate: Topology) -> None:
    """Raises `SuccessionError` if the state would not have a place at every moment while regions come or go."""
    joining = [name for name in candidate.regions if name not in current.regions]
    leaving = [name for name in current.regions if name not in candidate.regions]
    if joining and leaving:
        raise SuccessionError(
            f"{', '.join(joining)} would be added and {', '.join(leaving)} removed at once; add regions in one "
            "revision and remove others in the next, so that the state has a place at every moment"
        )
    for name, namespace in current.namespaces.items():
        if name not in candidate.namespaces:
            continue
        if not set(current.holders(name)) & set(candidate.holders(name)):
            raise SuccessionError(
                f"namespaces.{name}: {', '.join(leaving)} would be removed, and no other region may hold its data; add "
                "a region in its zones first, or remove the namespace from the file"
            )
        lost = [region for region in namespace.acceptors if region in leaving]
        if 2 * len(lost) >= len(namespace.acceptors) > 0:
            raise SuccessionError(
                f"namespaces.{name}: {', '.join(lost)} are {len(lost)} of its {len(namespace.acceptors)} acceptors, "
                "and no majority would be left to move; remove them one revision after the other"
            )


def check_namespaces(current: Mapping[str, Kept], candidate: Mapping[str, Kept]) -> None:
    """Raises `SuccessionError` if a namespace would change its level, or the backend of its strong registers: what was
    written at one would not be found at the other, and who relied on the guarantee would lose it without notice. Or if
    it would keep none of its acceptors: nobody would be left who can tell the new ones what was agreed on.
    """
    for name, kept in current.items():
        wanted = candidate.get(name)
        if wanted is None:
            continue
        if (wanted.level, wanted.backend) != (kept.level, kept.backend):
            raise SuccessionError(
                f"namespaces.{name} would move from {_words(kept)} to {_words(wanted)}, but its data stays where it "
                f"was written and would not be found there; declare a namespace of another name and copy what it is "
                f"to keep, or leave namespaces.{name} as it is"
            )
        if kept.acceptors and set(kept.acceptors).isdisjoint(wanted.acceptors):
            raise SuccessionError(
                f"namespaces.{name}.acceptors would move from {', '.join(kept.acceptors)} to "
                f"{', '.join(wanted.acceptors)}, all at once; name acceptors of which some stay, and move the others "
                "in later revisions"
            )


def _words(namespace: Kept) -> str:
    backend = "" if namespace.backend is None else f" on {namespace.backend.value}"
    return f"level {namespace.level.value!r}{backend}"
