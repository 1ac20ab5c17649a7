"""What the own store is known to know, and waiting for more."""

import asyncio

from atoll.state.vector import NOTHING, Actor, Vector


class Known:
    """The own vector, as far as this process has seen it grow; and a bell for whatever may have changed."""

    __slots__ = ("_bell", "vector")

    def __init__(self) -> None:
        self.vector = NOTHING
        self._bell = asyncio.Event()

    def raised(self, actor: Actor, seq: int) -> None:
        self.vector = self.vector.raised(actor, seq)
        self.ring()

    def use(self, vector: Vector) -> None:
        """The store has said its vector. It may have gone back: it was restored from an old disk."""
        self.vector = vector
        self.ring()

    def ring(self) -> None:
        """Something has changed that somebody may wait for."""
        self._bell.set()
        self._bell = asyncio.Event()

    async def changed(self, timeout_s: float | None = None) -> bool:
        """Waits for the bell; returns whether it rang in time."""
        bell = self._bell
        try:
            async with asyncio.timeout(timeout_s):
                await bell.wait()
        except TimeoutError:
            return False
        return True
