"""The file that tells the links process what to relay; written by the supervisor, read at start and when told to."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from atoll.cell.links.shape import Shape

Port = Annotated[int, Field(ge=1, le=65535)]
Milliseconds = Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class LinksConfigError(Exception):
    """A links configuration that can't be used; the message names the file, the key and the fault."""


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """One relay: ``source`` connects to 127.0.0.1:``listen_port`` and reaches a gateway of ``destination``.

    ``rtt_ms`` is the round trip of the link, ``jitter_ms`` the most that is added to it. Relays between
    the same two places share one link, so they must agree on both.
    """

    source: str
    destination: str
    listen_port: int
    target_host: str
    target_port: int
    rtt_ms: float
    jitter_ms: float = 0.0

    @property
    def shape(self) -> Shape:
        """The healthy shape of either direction."""
        return Shape(latency_s=self.rtt_ms / 2000, jitter_s=self.jitter_ms / 2000)


@dataclass(frozen=True, slots=True)
class LinksConfig:
    """All relays of a run, the control socket's path, and the seed of the jitter."""

    control: Path
    relays: tuple[RelayConfig, ...]
    seed: int = 0


class _RelayDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: Name
    destination: Name
    listen_port: Port
    target_host: Name
    target_port: Port
    rtt_ms: Milliseconds
    jitter_ms: Milliseconds = 0.0


class _ConfigDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    control: Path
    seed: int = 0
    links: tuple[_RelayDocument, ...]


def read_links_config(path: Path) -> LinksConfig:
    """Reads and checks a configuration. Raises `LinksConfigError`."""
    try:
        document = _ConfigDocument.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LinksConfigError(f"cannot read the links configuration {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the document"
        raise LinksConfigError(f"{path}: {key}: {first['msg']}, got {first['input']!r}") from error
    relays = tuple(RelayConfig(**relay.model_dump()) for relay in document.links)
    _check(path, relays)
    return LinksConfig(control=document.control, relays=relays, seed=document.seed)


def write_links_config(path: Path, config: LinksConfig) -> None:
    """Writes a configuration in one step (a reader sees the old or the new), readable by its owner only.

    Raises `LinksConfigError` for one that `read_links_config` would refuse, and `OSError`.
    """
    _check(path, config.relays)
    links = TypeAdapter(tuple[RelayConfig, ...]).dump_python(config.relays)
    try:
        document = _ConfigDocument(control=config.control, seed=config.seed, links=links)
    except ValidationError as error:
        raise LinksConfigError(f"{path} not written: {error}") from error
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(document.model_dump_json(indent=2) + "\n")
    fresh.replace(path)


def _check(path: Path, relays: tuple[RelayConfig, ...]) -> None:
    """What holds between relays rather than within one."""
    by_port: dict[int, RelayConfig] = {}
    by_link: dict[frozenset[str], RelayConfig] = {}
    for relay in relays:
        name = f"{relay.source} -> {relay.destination}"
        if relay.source == relay.destination:
            raise LinksConfigError(f"{path}: link {name}: source and destination must differ")
        other = by_port.setdefault(relay.listen_port, relay)
        if other is not relay:
            raise LinksConfigError(
                f"{path}: listen_port {relay.listen_port} is used by {name} and by "
                f"{other.source} -> {other.destination}; each relay needs its own"
            )
        other = by_link.setdefault(frozenset((relay.source, relay.destination)), relay)
        if (other.rtt_ms, other.jitter_ms) != (relay.rtt_ms, relay.jitter_ms):
            raise LinksConfigError(
                f"{path}: link {name} has rtt_ms {relay.rtt_ms:g} and jitter_ms {relay.jitter_ms:g} here, "
                f"{other.rtt_ms:g} and {other.jitter_ms:g} elsewhere; one link has one of each"
            )
