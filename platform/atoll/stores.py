"""Clients of a region's stores: how one is opened, and asked whether it is there."""

from redis.asyncio import BlockingConnectionPool, Redis
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


class StoreRefused(PermissionError):
    """A store answers, but not to us: the password is wrong, or it lacks the right to PING."""


def open_store(access: StoreAccess, retries: int = 0) -> Redis:
    """A client of a store; close it with `aclose`. It connects when it is first used.

    `retries` is how often a command is sent again on a fresh connection when the one it went out on breaks: a store
    that has started anew has closed those that were kept, but the command may also have been carried out. Raises
    `SecretError`, and `ValueError` for an access that names no store.
    """
    if access.url is not None:
        return connect_url(access.url, retries)
    if access.address is None or access.password_file is None:
        raise ValueError("a store needs a URL, or an address and a password file")
    return connect(access.address, read_secret(access.password_file), retries)


def connect(address: Address, password: str, retries: int = 0) -> Redis:
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
        )
    )


def connect_url(url: str, retries: int = 0) -> Redis:
    """A client of a store that somebody else runs."""
    return Redis.from_pool(
        BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), retries),
            maint_notifications_config=_notices(retries),
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
        return bool(await store.ping())
    except AuthenticationError as error:
        raise StoreRefused(f"the store refuses the password: {error}") from error
    except (BusyLoadingError, RedisError, OSError):
        return False
