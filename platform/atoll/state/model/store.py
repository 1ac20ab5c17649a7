"""`ModelStore`: what the store's functions do, step by step. Its parts are named after those of the library."""

from collections.abc import Callable, Iterable

from atoll.state.errors import Refusal, StoreRefused
from atoll.state.model.apply import Applying
from atoll.state.model.disk import Disk, Snapshot
from atoll.state.model.region import command
from atoll.state.model.transfer import Transferring
from atoll.state.model.upkeep import Upkeep
from atoll.state.model.write import Writing
from atoll.state.operation import Begin
from atoll.state.store import Opened
from atoll.state.vector import FIRST_EPOCH, Dot, actor_of, epoch_of

__all__ = ["ModelStore", "Snapshot"]


class ModelStore(Writing, Applying, Upkeep, Transferring):
    """One region's store. The methods are those of `atoll.state.store.Store`, whose docstrings hold; none blocks.

    `history`: how many commands `lose_tail` can take back at most.
    """

    # --- Opening

    @command
    def open(self, region: str, identity: str, *, floor: int = 0) -> Opened:
        state = self._state
        fresh = not state.identity
        if not fresh and (state.region, state.identity) != (region, identity):
            raise StoreRefused(
                Refusal.IDENTITY,
                f"its data belong to region {state.region} of deployment {state.identity}, not to region {region} "
                f"of deployment {identity}; give it a store of its own, or wipe this one",
            )
        stored = epoch_of(state.actor) if state.actor else 0
        epoch = max(stored + 1, floor + 1, self._now_ms // 1000, FIRST_EPOCH)
        previous = Dot(state.actor, state.seq) if state.actor else None
        state.region, state.identity = region, identity
        state.actor, state.seq = actor_of(region, epoch), 0
        state.lost = state.lost or (fresh and floor > 0)
        self._open = True
        self._append("", Begin(self._tick(), previous))
        return Opened(state.actor, previous, fresh)

    @command
    def complete(self) -> None:
        self._state.complete, self._state.lost = True, False

    @command
    def refuse(self, reason: str) -> None:
        self._state.refused = reason

    # --- What happens to stores

    def crash(self) -> None:
        """The server ends and comes back with all that it acknowledged; it has to be opened again."""
        self._open = False

    def lose_tail(self, commands: int) -> None:
        """A crash that loses the newest commands: a disk that lied. It has to be opened again.

        Raises `ValueError` if more are to be lost than the history keeps and there were.
        """

        def replay(state: Disk, calls: Iterable[tuple[int, Callable[[], object]]]) -> None:
            self._state, self._open = state, True
            for now_ms, call in calls:
                self._now_ms = now_ms
                call()

        self._history.rewind(commands, replay)
        self._open = False

    def wipe(self) -> None:
        """The disk is lost. It has to be opened again."""
        self._state = Disk()
        self._open = False
        self._history.clear()

    def snapshot(self) -> Snapshot:
        """A copy of the disk."""
        return Snapshot(self._state.copy())

    def restore(self, snapshot: Snapshot) -> None:
        """An old disk is put back. The store has to be opened again."""
        self._state = snapshot.state.copy()
        self._open = False
        self._history.clear()
