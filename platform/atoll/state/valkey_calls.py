"""Commands to a state store: one by one on a client's connections, with errors that say what can be done."""

from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

from redis import exceptions
from redis.asyncio import Redis

from atoll.state.errors import Refusal, StateError, StoreBroken, StoreFull, StoreRefused, StoreUnavailable
from atoll.stores import heeding_cancellation

Argument: TypeAlias = str | bytes | int
Reply: TypeAlias = Any
"""As the server gave it: bytes, numbers, lists and maps of these."""

LIBRARY_VERSION: Final = 1
"""Of the function library, and so of the names of its functions: a successor can be loaded beside it."""

QUIET_S: Final = 1.0
"""Without a message for so long a listener is told so."""

_REFUSALS: Final = {refusal.value: refusal for refusal in Refusal}
_NOT_THERE: Final = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)


class Calls:
    """Sends commands to one store.

    Raises `StoreRefused`, `StoreUnavailable`, `StoreFull`, `StoreBroken`. Nothing is ever sent twice.
    """

    __slots__ = ("_client",)

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def function(self, name: str, *arguments: Argument) -> Reply:
        """Calls a function of the library that writes."""
        return await self.command("FCALL", f"atoll{LIBRARY_VERSION}_{name}", 0, *arguments)

    async def look(self, name: str, *arguments: Argument) -> Reply:
        """Calls a function of the library that only reads."""
        return await self.command("FCALL_RO", f"atoll{LIBRARY_VERSION}_{name}", 0, *arguments)

    async def command(self, *command: Argument) -> Reply:
        """Sends one command."""
        with heeding_cancellation():
            return await self._command(*command)

    async def _command(self, *command: Argument) -> Reply:
        pool = self._client.connection_pool
        try:
            connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        except (exceptions.RedisError, OSError) as error:
            raise told(error, sent=False) from error
        try:
            await connection.send_command(*command)
            return await connection.read_response()
        except (exceptions.RedisError, OSError) as error:
            raise told(error, sent=True) from error
        finally:
            await pool.release(connection)

    async def several(self, commands: list[tuple[Argument, ...]]) -> list[Reply]:
        """Sends commands at once that only read; others' may come in between."""
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        with heeding_cancellation():
            try:
                return await pipeline.execute()
            except (exceptions.RedisError, OSError) as error:
                raise told(error, sent=True) from error

    async def messages(self, channel: str) -> AsyncIterator[bytes | None]:
        """What is published from now on. The first None says that it begins, later ones that nothing came lately."""
        subscription = self._client.pubsub()
        try:
            await subscription.subscribe(channel)
            yield None
            while True:
                with heeding_cancellation():
                    message = await subscription.get_message(ignore_subscribe_messages=True, timeout=QUIET_S)
                yield None if message is None else message["data"]
        except (exceptions.RedisError, OSError) as error:
            raise told(error, sent=False) from error
        finally:
            await subscription.aclose()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        await self._client.aclose()


def told(error: Exception, *, sent: bool) -> StateError:
    """What an error of the client means. Pure."""
    text = str(error)
    match error:
        case exceptions.AuthenticationError() | exceptions.NoPermissionError():
            return StoreRefused(
                Refusal.CLOSED,
                f"it does not let us in ({text}); it is being opened after its start, "
                "or the password file is not its own",
            )
        case exceptions.OutOfMemoryError():
            return StoreFull()
        case _ if isinstance(error, _NOT_THERE):
            return StoreUnavailable(text or type(error).__name__, sent=sent)
        case exceptions.ResponseError():
            word, _, detail = text.partition(" ")
            if word in _REFUSALS:
                return StoreRefused(_REFUSALS[word], detail)
            if text.startswith("Function not found"):
                return StoreRefused(
                    Refusal.CLOSED, "its functions are not loaded; whoever runs it opens it first"
                )
    return StoreBroken(text)
