"""Opens a region's embedded state store each time that its server has started; nobody else gets in before."""

import logging
from pathlib import Path

from atoll.state.errors import StateError, StoreUnavailable
from atoll.state.marker import StoreMarker, ensure_marker, write_marker
from atoll.state.opening import open_store_epoch
from atoll.state.valkey_store import ValkeyStore
from atoll.stores import StoreRefused, connect, ping
from atoll.topology.wiring import Address

log = logging.getLogger(__name__)


class StateGate:
    """The way from a state store's opening password, which its configuration has, to its clients' password."""

    def __init__(
        self, region: str, address: Address, opening_password: str, password: str, marker: Path
    ) -> None:
        self._region = region
        self._address = address
        self._opening_password = opening_password
        self._password = password
        self._marker = marker
        self._told = ""

    async def open(self) -> bool:
        """Begins the store's epoch if its server has just started, and lets its clients in. Whether they are in now.

        False while it can't be opened; the log says why, unless it is just about to answer.
        """
        try:
            await self._open()
        except StoreUnavailable:  # it is being started, or loads its data
            return False
        except (StateError, OSError) as error:
            if str(error) != self._told:  # once, not at every attempt
                log.error("the state store can't be opened: %s", error)  # noqa: TRY400  the message says it all
                self._told = str(error)
            return False
        self._told = ""
        return True

    async def _open(self) -> None:
        marker = ensure_marker(self._marker)
        if not marker.opening and await self._has_just_started():
            write_marker(self._marker, marker.before())
        opened = await open_store_epoch(
            self._address,
            self._opening_password,
            self._password,
            self._region,
            marker.identity,
            floor=marker.epoch,
        )
        if opened is not None or marker.opening:
            await self._note(marker, fresh=opened is not None and opened.fresh)

    async def _has_just_started(self) -> bool:
        """Whether the server is up and still closed."""
        client = connect(self._address, self._opening_password)
        try:
            return await ping(client)
        except StoreRefused:
            return False
        finally:
            await client.aclose()

    async def _note(self, before: StoreMarker, *, fresh: bool) -> None:
        clients = (connect(self._address, self._password), connect(self._address, self._password))
        async with ValkeyStore(*clients, self._region) as store:
            statistics = await store.statistics()
        after = before.after(statistics.actor, fresh=fresh, complete=statistics.complete)
        write_marker(self._marker, after)
        log.info("the state store is open", extra={"actor": statistics.actor})
        if after.losses > before.losses:
            log.error(
                "the state store has lost its disk: it is empty, though it was in service before; "
                "its data come back from the other regions"
            )
