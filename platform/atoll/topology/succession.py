"""Which topology may follow another one while a deployment runs, or over the data that it left."""

from collections.abc import Mapping
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


def check_succession(current: Topology, candidate: Topology) -> None:
    """Raises `SuccessionError` if `candidate` can't be taken up where `current` is in force."""
    if candidate.name != current.name:
        raise SuccessionError(f"the file is now named {candidate.name!r}, this run is {current.name!r}")
    if candidate.revision < current.revision:
        raise SuccessionError(
            f"revision {candidate.revision} is older than {current.revision}, which is in force; count it up"
        )
    if candidate.regions.keys() != current.regions.keys():
        changed = ", ".join(sorted(candidate.regions.keys() ^ current.regions.keys()))
        raise SuccessionError(
            f"regions were added or removed ({changed}); a running gateway has no address for them: "
            "`atoll down`, then `atoll up`"
        )
    check_namespaces(current.namespaces, candidate.namespaces)


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
