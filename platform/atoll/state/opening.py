"""How a state store is opened: its functions are loaded and its epoch begins before anybody else may use it.

Two gates keep writes away until then, and each holds by itself:

- An embedded server starts with an *opening password* that only its opener knows. When the epoch has begun, the opener
  exchanges it for the store's own password. Until then a client of the store is not let in at all, so this also keeps
  out those who use other keys of the store. The configuration file is never rewritten: each start is closed again.
- The functions refuse to write until `open` has run in this process of the server (`Refusal.CLOSED`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from redis.exceptions import AuthenticationError, RedisError

from atoll.state.store import Opened
from atoll.state.valkey_calls import LIBRARY_VERSION, Calls, told
from atoll.state.valkey_store import ValkeyStore
from atoll.stores import connect
from atoll.topology.wiring import Address

PARTS: Final = (
    "base", "clock", "region", "opening", "cells", "write", "merge", "apply", "transfer", "upkeep", "offered",
)  # fmt: skip
"""The state library's files, in the order in which they are joined."""


@dataclass(frozen=True, slots=True)
class Library:
    """A Valkey function library."""

    name: str
    code: str


def state_library() -> Library:
    """The functions of the state store (`library/*.lua`, one file a subject)."""
    name = f"atoll_state_{LIBRARY_VERSION}"
    folder = files("atoll.state") / "library"
    parts = [(folder / f"{part}.lua").read_text() for part in PARTS]
    return Library(name, "\n".join([f"#!lua name={name}", *parts]))


async def load(calls: Calls, library: Library) -> bool:
    """Loads a library unless the server has it as it is; answers whether it did.

    Loading it anew closes the store.
    """
    loaded = await calls.command("FUNCTION", "LIST", "LIBRARYNAME", library.name, "WITHCODE")
    if any(_field(one, b"library_code") == library.code.encode() for one in loaded):
        return False
    await calls.command("FUNCTION", "LOAD", "REPLACE", library.code)
    return True


async def open_store_epoch(
    address: Address,
    opening_password: str,
    password: str,
    region: str,
    identity: str,
    *,
    floor: int = 0,
    libraries: Sequence[Library] = (),
) -> Opened | None:
    """Opens an embedded store that has just started, and lets everybody in. None: it was open already.

    Its configuration has `opening_password`; `password` is what its clients use. `libraries` are loaded beside the
    state's own. May be called again at any time, such as by a warden that starts anew beside a running store. If it
    fails half way, the store stays closed. Connections made with the opening password stay usable, so the opener's are
    closed here.

    Raises `StoreUnavailable` while the server does not answer or loads its data, and `StoreRefused`: `CLOSED` if
    neither password is right, `IDENTITY` for a store that holds something else.

    A store that somebody else runs has no opening password: `open_if_closed` is for these.
    """
    if not await _is_let_in(address, opening_password):
        async with _store(address, password, region) as store:
            return await open_if_closed(store, identity, floor=floor, libraries=libraries)
    async with _store(address, opening_password, region) as store:
        await _load_all(store.calls, libraries)
        opened = await store.open(region, identity, floor=floor)
        await store.calls.command("CONFIG", "SET", "requirepass", password)
        return opened


async def open_if_closed(
    store: ValkeyStore, identity: str, *, floor: int = 0, libraries: Sequence[Library] = ()
) -> Opened | None:
    """Opens a store that somebody else runs, if it isn't open. None: it was.

    Its agent calls this when it comes up, and whenever the store refuses as `CLOSED`: the server has started anew, a
    replica of it has taken over, or its data were replaced. Meanwhile all writes of state are refused, though not
    commands on other keys. Two openers at once begin two epochs, which harms nothing.
    """
    if not await _load_all(store.calls, libraries) and (await store.statistics()).actor:
        return None
    return await store.open(store.region, identity, floor=floor)


async def _load_all(calls: Calls, libraries: Sequence[Library]) -> bool:
    """Loads what is missing; answers whether the state's own functions were."""
    for library in libraries:
        await load(calls, library)
    return await load(calls, state_library())


def _store(address: Address, password: str, region: str) -> ValkeyStore:
    return ValkeyStore(connect(address, password), connect(address, password), region)


async def _is_let_in(address: Address, password: str) -> bool:
    client = connect(address, password)
    try:
        await client.ping()
    except AuthenticationError:
        return False
    except (RedisError, OSError) as error:
        raise told(error, sent=False) from error
    finally:
        await client.aclose()
    return True


def _field(reply: object, name: bytes) -> object:
    """A field of a map, which older protocols give as a flat list."""
    if isinstance(reply, dict):
        return reply.get(name)
    assert isinstance(reply, list)
    return dict(zip(reply[::2], reply[1::2], strict=True)).get(name)
