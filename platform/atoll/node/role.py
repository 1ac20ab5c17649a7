"""What all roles have in common."""

from asyncio import Event
from collections.abc import Callable
from typing import Protocol, TypeAlias

Ready: TypeAlias = Callable[[str], None]
"""Told, in words, that the role can be used."""


class RoleFailed(Exception):
    """The role can't go on; whoever keeps the machine's services up starts it anew. Says why."""


class Role(Protocol):
    """One role of a machine."""

    async def run(self, stop: Event, ready: Ready) -> None:
        """Runs until `stop`, then ends in order and leaves nothing. Raises `RoleFailed`."""

    async def drain(self, deadline_s: float) -> bool:
        """Takes the role out of service while it goes on with what it has begun; whether all of that was done in time.
        A role without clients of its own has nothing to drain.
        """

    def undrain(self) -> None:
        """Puts it back, where that can be."""
