"""Access to a state store that ends with its server.

A client connects anew by itself. To what was found out about the data it must not: another start of the server may have
others, after a lost tail, an old disk or none.
"""

from redis.asyncio.connection import AbstractConnection

from atoll.state.errors import StoreUnavailable
from atoll.stores import Connected


def same_server() -> Connected:
    """For the connections of one client, or of several: raises `StoreUnavailable` once the server that the first of
    them was made to has ended, and another one answers.
    """
    first = b""

    async def check(connection: AbstractConnection) -> None:
        nonlocal first
        try:
            await connection.on_connect()
            await connection.send_command("INFO", "server")
            found = _run_id(await connection.read_response())
            first = first or found
            _must_be(first, found)
        except BaseException:  # also if it is given up: a connection that stays open would not be asked again
            await connection.disconnect(nowait=True)
            raise

    return check


def _run_id(info: bytes) -> bytes:
    """What a server calls its process: random, and another one after each start."""
    return next(line for line in info.splitlines() if line.startswith(b"run_id:"))


def _must_be(first: bytes, found: bytes) -> None:
    if found != first:
        raise StoreUnavailable("its server has started anew", sent=False)
