"""The acceptor in a region's state store: each request is one atomic function there (`acceptor.lua`).

The store has to have a promise on disk before it answers: `appendfsync always`, and a torn log must stop its start
(`aof-load-truncated no`). Whoever puts an old backup in its place has to delete the key `{cp}` there, so that it comes
back as a new member: an acceptor that forgets lets two majorities believe in different values.
"""

from collections.abc import Awaitable
from importlib import resources
from typing import TypeAlias, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from atoll.state.errors import StateError
from atoll.state.opening import Library, load
from atoll.state.strong.ballot import Ballot
from atoll.state.strong.messages import (
    Accept,
    Accepted,
    Configure,
    Configured,
    Current,
    Describe,
    Description,
    List,
    Listed,
    Prepare,
    Promised,
    Read,
    Refusal,
    Refused,
    Register,
    Rejected,
    Reply,
    Request,
    Stale,
)
from atoll.state.strong.registers import Unreachable
from atoll.state.valkey_calls import Calls
from atoll.stores import heeding_cancellation

LIBRARY = "atoll_acceptor_1"
IDENTITY = b"{cp}"

_Answer: TypeAlias = list[bytes | list[bytes] | None]


class ValkeyAcceptor:
    """One region's acceptor. `open` it once; after that it may be asked from anywhere.

    Every request may be repeated without harm, so let the client send a command again when its connection breaks
    (`open_store(access, retries=1)`): a store that has started anew has closed all that were kept.
    """

    def __init__(self, store: Redis) -> None:
        self._store = store

    async def open(self, identity: str) -> str:
        """Loads the functions if they are not there as they are here, makes `identity` the store's if it has none, and
        returns the one it has.

        Pass a new random identity at every start. Raises `Unreachable`.
        """
        code = resources.files("atoll.state.strong").joinpath("acceptor.lua").read_text("utf-8")
        calls = Calls(self._store)
        try:
            await load(calls, Library(LIBRARY, code))
            found: bytes = await calls.command("FCALL", f"{LIBRARY}_open", 1, IDENTITY, identity)
        except StateError as error:
            raise Unreachable(f"its state store failed: {error}") from error
        return found.decode()

    async def answer(self, request: Request) -> Reply:
        """Does one request. Raises `Unreachable` if the store fails: then it may have been done."""
        keys: list[bytes] = [IDENTITY, b"{cp}!" + request.namespace.encode()]
        arguments: list[bytes | str | int] = [request.member, request.epoch]
        name, reads = "describe", True
        match request.body:
            case Describe():
                pass
            case Configure(configuration):
                name, reads = "configure", False
                arguments.append(configuration)
            case List(after, limit):
                name = "list"
                keys.append(_index(request.namespace))
                arguments += [after, limit]
            case Read(register):
                name = "read"
                keys.append(_record(register))
            case Prepare(register, ballot):
                name, reads = "prepare", False
                keys += [_record(register), _index(register.namespace)]
                arguments += [register.key, ballot.text]
            case Accept(register, ballot, value, promise):
                name, reads = "accept", False
                keys += [_record(register), _index(register.namespace)]
                arguments += [register.key, ballot.text, value, "" if promise is None else promise.text]
        call = self._store.fcall_ro if reads else self._store.fcall
        try:
            # redis says that keys and arguments are text; it sends bytes as they are.
            with heeding_cancellation():
                reply = await cast(
                    "Awaitable[_Answer]",
                    call(f"{LIBRARY}_{name}", len(keys), *cast("list[str]", [*keys, *arguments])),
                )
        except (RedisError, OSError) as error:
            raise Unreachable(f"its state store failed: {error}") from error
        return _parsed(reply)


def _record(register: Register) -> bytes:
    return f"{{cp}}:{register.namespace}:{register.key}".encode()


def _index(namespace: str) -> bytes:
    return f"{{cp}}/{namespace}".encode()


def _parsed(reply: _Answer) -> Reply:
    match reply:
        case [b"promised", accepted, value]:
            return Promised(_ballot(accepted), _bytes(value))
        case [b"accepted", bytes() as promised]:
            return Accepted(Ballot.parse(promised.decode()))
        case [b"rejected", bytes() as promised]:
            return Rejected(Ballot.parse(promised.decode()))
        case [b"current", accepted, value]:
            return Current(_ballot(accepted), _bytes(value))
        case [b"listed", list() as keys]:
            return Listed(tuple(key.decode() for key in keys))
        case [b"configured"]:
            return Configured()
        case [b"stale", bytes() as configuration]:
            return Stale(configuration)
        case [b"refused", bytes() as reason]:
            return Refused(Refusal[reason.decode()])
        case [b"description", identity, bytes() as epoch, configuration]:
            name = _bytes(identity)
            return Description(None if name is None else name.decode(), int(epoch), _bytes(configuration))
    raise Unreachable(f"its state store answered {reply!r:.80}, which this release doesn't understand")


def _ballot(text: bytes | list[bytes] | None) -> Ballot | None:
    return Ballot.parse(text.decode()) if isinstance(text, bytes) else None


def _bytes(value: bytes | list[bytes] | None) -> bytes | None:
    return value if isinstance(value, bytes) else None
