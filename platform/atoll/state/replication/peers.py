"""What replication needs of the network: a connection for each log, and questions with answers."""

from typing import Protocol

from atoll.channel import Wire


class PeerLost(Exception):
    """A peer can't be reached, or its connection has ended, or it gave no answer in time."""


class Channel(Protocol):
    """One connection: messages both ways, in order. Everything raises `PeerLost`."""

    async def send(self, message: Wire) -> None:
        """Waits while the other side takes nothing."""
        ...

    async def receive(self) -> Wire: ...

    def abort(self) -> None:
        """Ends the connection at once."""
        ...


class Peers(Protocol):
    """The other regions' agents. Everything raises `PeerLost`."""

    async def open(self, region: str) -> Channel:
        """A connection for the region's log; its agent gives it to `Replicator.serve`."""
        ...

    async def ask(self, region: str, question: Wire) -> Wire:
        """A question of a transfer; the region's agent answers it with `Replicator.answer`.

        On connections of its own, so that a large transfer doesn't stand in front of a log.
        """
        ...
