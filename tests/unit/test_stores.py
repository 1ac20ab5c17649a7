"""What clients of stores do to whoever is cancelled while one works for them."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis, SSLConnection

from atoll.cache import ValkeyCacheStore
from atoll.node.directory import Directory
from atoll.node.wiring import GatewayAt
from atoll.resilience.idempotency import Claim
from atoll.stores import heeding_cancellation, open_store, ping
from atoll.topology.wiring import Address, StoreAccess
from atoll_gateway.keys.store import StoreKeys


async def forgets() -> None:
    """As the client does under Python 3.11: a cancellation that comes as the send ends is lost."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def goes_on(guard: Callable[[], AbstractContextManager[None]]) -> bool:
    """Whether a task goes on after a command during which it was cancelled."""
    went_on = False

    async def work() -> None:
        nonlocal went_on
        with guard():
            await forgets()
        went_on = True

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() is not went_on
    return went_on


async def test_a_task_that_is_cancelled_during_a_command_ends() -> None:
    assert not await goes_on(heeding_cancellation)


async def test_without_it_the_task_goes_on() -> None:
    """Control."""
    assert await goes_on(contextlib.nullcontext)


class Forgetful:
    """A client that takes every order as `forgets` does."""

    async def fcall(self, *order: object) -> int:
        await forgets()
        return 0

    async def ping(self) -> bool:
        await forgets()
        return True

    async def time(self) -> tuple[int, int]:
        await forgets()
        return 0, 0

    async def zrangebyscore(self, *order: object) -> list[bytes]:
        return []

    async def zadd(self, *order: object) -> None: ...

    async def zremrangebyscore(self, *order: object) -> None: ...

    async def zrem(self, *order: object) -> None:
        await forgets()

    def register_script(self, text: str) -> Callable[..., Awaitable[tuple[bytes, bytes]]]:
        async def script(**order: object) -> tuple[bytes, bytes]:
            await forgets()
            return b"claimed", b""

        return script


GATEWAY = GatewayAt("eu-west/gateway-1", Address("127.0.0.1", 1), Address("127.0.0.1", 2))
CLAIM = Claim("quote", "record", "fingerprint", "token", 1000, 2000)
USES: dict[str, Callable[[Redis], Awaitable[object]]] = {
    "cache": lambda client: ValkeyCacheStore(client).pulse(0),
    "ping": ping,
    "directory, looking": lambda client: Directory(client).present(),
    "directory, saying": lambda client: Directory(client).say(GATEWAY),
    "directory, leaving": lambda client: Directory(client).leave(GATEWAY),
    "keys": lambda client: StoreKeys(client).claim(CLAIM),
}


@pytest.mark.parametrize("use", USES)
async def test_a_task_that_uses_a_store_ends_too(use: str) -> None:
    async def work() -> None:
        await USES[use](cast("Redis", Forgetful()))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_an_error_that_comes_with_the_cancellation_does_not_hide_it() -> None:
    async def work() -> None:
        with heeding_cancellation():
            await forgets()
            raise ValueError

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_who_was_cancelled_before_and_goes_on_may_use_the_store() -> None:
    async def work() -> int:
        await forgets()
        with heeding_cancellation():
            return 1

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == 1


async def test_errors_pass() -> None:
    with pytest.raises(ValueError, match="as it was"), heeding_cancellation():
        raise ValueError("as it was")


def test_a_store_of_a_url_gets_its_password_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text("from-the-file")
    store = open_store(StoreAccess(url="rediss://atoll@cache.example.com:6379", password_file=secret))
    made = store.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    assert isinstance(made, SSLConnection)
    assert (made.host, made.port) == ("cache.example.com", 6379)
    assert (made.username, made.password) == ("atoll", "from-the-file")
    assert made.cert_reqs is ssl.CERT_REQUIRED
    assert made.check_hostname


def test_a_password_in_the_url_is_the_one_that_counts(tmp_path: Path) -> None:
    made = open_store(StoreAccess(url="redis://:in-the-url@localhost:1")).connection_pool.make_connection()  # type: ignore[no-untyped-call]
    assert made.password == "in-the-url"
