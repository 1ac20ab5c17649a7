"""Clients of a region's stores: how one is opened, and asked whether it is there."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from atoll.secrets import read_secret
from atoll.topology.wiring import Address, StoreAccess

TIMEOUT_S = 2.0
"""For the connect, for each answer, and for the wait for a free connection, one by one."""
CONNECTIONS = 64
"""Of one client; more requests than these wait for one to come free."""


Connected: TypeAlias = Callable[[AbstractConnection], Awaitable[None]]
"""Makes a connection that has just come up ready for use (`on_connect`), and may ask something on it. What it raises,
the command that needed the connection raises; it must close the connection before."""


class StoreRefused(PermissionError):
    """A store answers, but not to us: the password is wrong, or it lacks the right to PING."""


def open_store(access: StoreAccess, retries: int = 0, connected: Connected | None = None) -> Redis:
    """A client of a store; close it with `aclose`. It connects when it is first used.

    `retries` is how often a command is sent again on a fresh connection when the one it went out on breaks: a store
    that has started anew has closed those that were kept, but the command may also have been carried out. `connected`
    is called with every connection that is made. Raises `SecretError`, and `ValueError` for an access that names no
    store.
    """
    if access.url is not None:
        password = None if access.password_file is None else read_secret(access.password_file)
        return connect_url(access.url, retries, connected, password)
    if access.address is None or access.password_file is None:
        raise ValueError("a store needs a URL, or an address and a password file")
    return connect(access.address, read_secret(access.password_file), retries, connected)


def connect(address: Address, password: str, retries: int = 0, connected: Connected | None = None) -> Redis:
    """A client of an embedded store."""
    return Redis.from_pool(
        BlockingConnectionPool(
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            host=address.host,
            port=address.port,
            password=password,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), retries),
            maint_notifications_config=_notices(retries),
            redis_connect_func=connected,
        )
    )


def connect_url(
    url: str, retries: int = 0, connected: Connected | None = None, password: str | None = None
) -> Redis:
    """A client of a store that is named by its URL, which says whether TLS is spoken and may hold the password."""
    return Redis.from_pool(
        BlockingConnectionPool.from_url(
            url,
            password=password,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), retries),
            maint_notifications_config=_notices(retries),
            redis_connect_func=connected,
        )
    )


def _notices(retries: int) -> MaintNotificationsConfig | None:
    """For whom nothing is sent again, a kept connection that the server has closed must be noticed before it is used.

    redis-py looks for that only where it expects no notices of maintenance.
    """
    return None if retries else MaintNotificationsConfig(enabled=False)


async def ping(store: Redis) -> bool:
    """Whether a store answers. False while it can't be reached or still loads its data.

    Raises `StoreRefused` if it does answer but refuses us.
    """
    try:
        with heeding_cancellation():
            return bool(await store.ping())
    except AuthenticationError as error:
        raise StoreRefused(f"the store refuses the password: {error}") from error
    except (BusyLoadingError, RedisError, OSError):
        return False


@contextlib.contextmanager
def heeding_cancellation() -> Iterator[None]:
    """A task that is cancelled in here leaves with `CancelledError`, whatever the client makes of it.

    The client sends under `asyncio.wait_for`, which under Python 3.11 forgets a cancellation that comes just as the
    send ends (python/cpython#86296); a loop around it would go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
