"""The region's state store as one session of its replication uses it, and what opening it leaves in the marker."""

from pathlib import Path
from typing import Self

from redis.asyncio import Redis

from atoll.agent.invalidate import InvalidatingStore
from atoll.cache import Invalidations
from atoll.state.marker import ensure_marker, write_marker
from atoll.state.one_server import same_server
from atoll.state.opening import load, state_library
from atoll.state.store import Opened
from atoll.stores import open_store
from atoll.topology.wiring import StoreAccess


class SessionStore(InvalidatingStore):
    """It ends with the store's server (`one_server`).

    A store that somebody else runs is opened by nobody but the agent: its functions are loaded here if it lacks them.
    """

    __slots__ = ("_loads", "_marker")

    def __init__(
        self,
        client: Redis,
        tail: Redis,
        region: str,
        invalidations: Invalidations,
        marker: Path,
        *,
        loads: bool,
    ) -> None:
        super().__init__(client, tail, region, invalidations)
        self._marker = marker
        self._loads = loads

    @classmethod
    def of(cls, access: StoreAccess, region: str, invalidations: Invalidations, marker: Path) -> Self:
        """A store by its access. Raises `SecretError`, `ValueError`."""
        check = same_server()
        client, tail = (open_store(access, connected=check) for _ in range(2))
        return cls(client, tail, region, invalidations, marker, loads=access.url is not None)

    async def __aenter__(self) -> Self:
        if self._loads:
            try:
                await load(self.calls, state_library())
            except BaseException:
                await self.aclose()
                raise
        return self

    async def open(self, region: str, identity: str, *, floor: int = 0) -> Opened:
        """As the store's; what the marker remembers of earlier epochs counts as known. Raises `MarkerError` too."""
        marker = ensure_marker(self._marker)
        write_marker(self._marker, marker.before())
        opened = await super().open(region, identity, floor=max(floor, marker.epoch))
        complete = (await self.statistics()).complete
        write_marker(self._marker, marker.after(opened.actor, fresh=opened.fresh, complete=complete))
        return opened
