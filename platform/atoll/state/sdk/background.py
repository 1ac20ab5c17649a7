"""The state outside of a request: for work in the background of a replica, and for scripts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from atoll.clock import SystemClock
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.scope import NoState, Scope, entered
from atoll.state.wiring import STATE_VARIABLE, state_wiring_file


@asynccontextmanager
async def background(wiring: Path | None = None) -> AsyncIterator[Scope]:
    """Gives the body a session of its own, without a deadline.

    `wiring` is the region's file; without one it is what `ATOLL_STATE` names. Raises `NoState` if there is none,
    `WiringError` and `SecretError` for files that can't be used.
    """
    path = wiring or state_wiring_file()
    if path is None:
        raise NoState(f"{STATE_VARIABLE} is not set: a cell sets it for its replicas")
    access = StateAccess.open(path, SystemClock(), Random())
    try:
        with entered(access.scope()) as scope:
            yield scope
    finally:
        await access.close()
