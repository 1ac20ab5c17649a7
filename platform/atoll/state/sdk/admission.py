"""Keeps a region's replicas out of its store while that lacks what was in it before its disk was lost.

Each connection asks once, when it is made: the end of a server ends its connections, so whoever is connected to a store
has asked the very one that answers. An operation costs nothing more, and there is no moment in which a store that has
come back empty could be read.

Writes are kept out as well. Values would merge, but a removal takes out only what the store knows, a counter answers
with its sum, and the store's clock may be behind the stamps of what the client has seen and means to replace.
"""

from redis.asyncio.connection import AbstractConnection

from atoll.state.errors import Refusal, StoreRefused
from atoll.state.sdk.regional import RegionBehind
from atoll.stores import Connected

LOOK = ("HMGET", "s:meta", "actor", "lost")


class RegionIncomplete(RegionBehind):
    """This region's store lost its disk and has not got everything back from the others yet. Nothing was done."""

    def __init__(self, region: str) -> None:
        super().__init__(
            f"the state store of {region} has lost its disk, and its data are not back from the other regions yet; "
            f"nothing was done: ask another region, or wait. If it lasts: `atoll status` shows {region}'s links",
            elsewhere=True,
        )


def only_complete(region: str) -> Connected:
    """For a new connection: raises `RegionIncomplete`, or `StoreRefused` (`CLOSED`) for a store nobody has opened."""

    async def check(connection: AbstractConnection) -> None:
        try:
            await connection.on_connect()
            await connection.send_command(*LOOK)
            _judge(region, *await connection.read_response())
        except BaseException:  # also if it is given up: a connection that stays open would not be asked again
            await connection.disconnect(nowait=True)
            raise

    return check


def _judge(region: str, actor: bytes | None, lost: bytes | None) -> None:
    if lost is not None:
        raise RegionIncomplete(region)
    if actor is None:
        raise StoreRefused(Refusal.CLOSED, "it has not been opened yet; its agent opens it when it comes up")
