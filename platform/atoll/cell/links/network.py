"""All links of a run: the directions, shared by the relays that use them, and the faults put on them."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from atoll.cell.links.config import LinksConfig, RelayConfig
from atoll.cell.links.relay import LOOPBACK, Line, Relay, RelayStatistics
from atoll.cell.links.shape import Direction, DirectionStatistics, Shape
from atoll.clock import Clock

Key = tuple[str, str]
"""A direction: from, to. On (B, A) go the answers of a relay A -> B and the requests of a relay B -> A."""


class NoSuchLinkError(Exception):
    """A selection that matches no link; the message lists the links there are."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which directions: from ``source`` to ``destination`` (None: any), and with ``both_ways`` back."""

    source: str | None = None
    destination: str | None = None
    both_ways: bool = True

    def matches(self, key: Key) -> bool:
        return self._matches(*key) or (self.both_ways and self._matches(*reversed(key)))

    def _matches(self, source: str, destination: str) -> bool:
        return self.source in (None, source) and self.destination in (None, destination)

    def __str__(self) -> str:
        return f"{self.source or 'any'} {'<->' if self.both_ways else '->'} {self.destination or 'any'}"


@dataclass(frozen=True, slots=True)
class LinksStatistics:
    """A snapshot of every direction and every relay."""

    directions: dict[Key, DirectionStatistics]
    relays: tuple[RelayStatistics, ...]


class Network:
    """Relays for all links, on the running event loop."""

    def __init__(self, config: LinksConfig, clock: Clock) -> None:
        self._seed = config.seed
        self._config = config
        self._clock = clock
        self._lines: dict[Key, Line] = {}
        self._relays: list[Relay] = []

    def start(self) -> None:
        """Binds every port. Raises `OSError` that names the port if one is taken; `close` it then."""
        for config in self._config.relays:
            self._relays.append(self._relay(config))
        for relay in self._relays:
            relay.start()

    async def use(self, config: LinksConfig) -> None:
        """Takes up other relays. Those of the same port and target stay as they are, with their connections, and with
        the shape of their links. Raises `OSError` as `start` does; nothing is changed then.
        """
        known = {_route(relay.config): relay for relay in self._relays}
        wanted = {_route(relay): relay for relay in config.relays}
        fresh: list[Relay] = []
        try:
            for route, added in wanted.items():
                if route not in known:
                    fresh.append(self._relay(added))
        except OSError:
            await asyncio.gather(*(relay.close() for relay in fresh))
            self._forget_lines()
            raise
        gone = [relay for route, relay in known.items() if route not in wanted]
        self._relays = [relay for relay in self._relays if relay not in gone] + fresh
        for relay in fresh:
            relay.start()
        await asyncio.gather(*(relay.close() for relay in gone))
        self._forget_lines()

    async def close(self) -> None:
        """Ends every relay; connections are reset."""
        await asyncio.gather(*(relay.close() for relay in self._relays))
        for line in self._lines.values():
            line.close()
        self._relays.clear()

    async def reshape(self, selection: Selection, change: Callable[[Shape], Shape]) -> dict[Key, Shape]:
        """Changes the selected directions; returns their shapes once they hold, for new connects too.

        Raises `NoSuchLinkError`, and what ``change`` raises; nothing is changed then.
        """
        lines = self._select(selection)
        shapes = {key: change(line.shape) for key, line in lines.items()}
        await self._apply(lines, shapes)
        return shapes

    async def heal(self, selection: Selection) -> dict[Key, Shape]:
        """Brings the selected directions back to what the topology says. Raises `NoSuchLinkError`."""
        lines = self._select(selection)
        shapes = {key: line.direction.base for key, line in lines.items()}
        await self._apply(lines, shapes)
        return shapes

    def lose(self, selection: Selection) -> int:
        """Loses the connections on the selected directions; returns how many. Raises `NoSuchLinkError`."""
        return sum(relay.lose() for relay in self._on(self._select(selection).values()))

    def statistics(self) -> LinksStatistics:
        return LinksStatistics(
            directions={key: line.direction.statistics() for key, line in self._lines.items()},
            relays=tuple(relay.statistics() for relay in self._relays),
        )

    async def _apply(self, lines: dict[Key, Line], shapes: dict[Key, Shape]) -> None:
        for key, line in lines.items():
            line.direction.reshape(shapes[key])
            line.kick()
        await asyncio.gather(*(relay.reshaped() for relay in self._on(lines.values())))

    def _on(self, lines: Iterable[Line]) -> list[Relay]:
        wanted = {id(line) for line in lines}
        return [
            relay for relay in self._relays if id(relay.forward) in wanted or id(relay.backward) in wanted
        ]

    def _select(self, selection: Selection) -> dict[Key, Line]:
        selected = {key: line for key, line in self._lines.items() if selection.matches(key)}
        if not selected:
            known = ", ".join(f"{source} -> {destination}" for source, destination in self._lines)
            raise NoSuchLinkError(f"no link {selection}; there are: {known or 'none'}")
        return selected

    def _relay(self, config: RelayConfig) -> Relay:
        loop = asyncio.get_running_loop()
        try:
            return Relay(
                config,
                self._line((config.source, config.destination), config.shape, loop),
                self._line((config.destination, config.source), config.shape, loop),
            )
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot listen on {LOOPBACK}:{config.listen_port} for the link {config.source} -> "
                f"{config.destination} ({error.strerror}); free the port or use another port base",
            ) from error

    def _line(self, key: Key, base: Shape, loop: asyncio.AbstractEventLoop) -> Line:
        if key not in self._lines:
            random = Random(f"{self._seed} {key[0]} -> {key[1]}")
            self._lines[key] = Line(Direction(base, self._clock, random), self._clock, loop)
        return self._lines[key]

    def _forget_lines(self) -> None:
        """Of links that no relay uses any more."""
        used = {id(line) for relay in self._relays for line in (relay.forward, relay.backward)}
        for key, line in list(self._lines.items()):
            if id(line) not in used:
                line.close()
                del self._lines[key]


def _route(config: RelayConfig) -> tuple[str, str, int, str, int]:
    return config.source, config.destination, config.listen_port, config.target_host, config.target_port
