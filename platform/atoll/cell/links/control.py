"""How faults reach the links process: calls over its control socket, and the client for them.

| method | parameters | answer |
|---|---|---|
| ``set`` | selection, and what to change of the shape | the new shapes |
| ``heal`` | selection | the new shapes |
| ``lose`` | selection | how many connections were lost |
| ``reload`` | none | every direction and every relay, now those of the configuration's file |
| ``statistics`` | none | every direction and every relay |

A selection is ``source``, ``destination`` (absent: any) and ``both_ways`` (true unless said otherwise).
``set`` and ``heal`` answer once the change holds: after a cut, new connects hang.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atoll.cell.links.config import LinksConfigError, read_links_config
from atoll.cell.links.door import DoorState
from atoll.cell.links.network import Key, LinksStatistics, Network, NoSuchLinkError, Selection
from atoll.cell.links.shape import Shape
from atoll.rpc import Client, Document, RpcError, Server, serve

Milliseconds = Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]
BytesPerSecond = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SelectionParameters(_Parameters):
    source: str | None = None
    destination: str | None = None
    both_ways: bool = True

    def selection(self) -> Selection:
        return Selection(self.source, self.destination, self.both_ways)


class SetParameters(SelectionParameters):
    """What to change; the absent stays. ``latency_ms`` is one way; ``rate_bytes_per_s`` null is no limit."""

    latency_ms: Milliseconds | None = None
    jitter_ms: Milliseconds | None = None
    rate_bytes_per_s: BytesPerSecond | None = None
    cut: bool | None = None

    def change(self, shape: Shape) -> Shape:
        if self.latency_ms is not None:
            shape = replace(shape, latency_s=self.latency_ms / 1000)
        if self.jitter_ms is not None:
            shape = replace(shape, jitter_s=self.jitter_ms / 1000)
        if "rate_bytes_per_s" in self.model_fields_set:
            shape = replace(shape, rate_bytes_per_s=self.rate_bytes_per_s)
        if self.cut is not None:
            shape = replace(shape, cut=self.cut)
        return shape


class NoParameters(_Parameters):
    pass


class DirectionDocument(_Parameters):
    """One direction and its shape now."""

    source: str
    destination: str
    latency_ms: float
    jitter_ms: float
    rate_bytes_per_s: float | None
    cut: bool


class DirectionReport(DirectionDocument):
    bytes_sent: int
    bytes_delivered: int
    bytes_waiting: int
    bytes_in_flight: int
    cuts: int


class RelayReport(_Parameters):
    source: str
    destination: str
    listen_port: int
    target_host: str
    target_port: int
    state: DoorState
    connections: int
    accepted: int
    refused: int


class ShapesAnswer(_Parameters):
    directions: tuple[DirectionDocument, ...]


class LoseAnswer(_Parameters):
    connections: int


class StatisticsAnswer(_Parameters):
    directions: tuple[DirectionReport, ...]
    relays: tuple[RelayReport, ...]


async def serve_control(path: Path, network: Network, config_file: Path | None = None) -> Server:
    """Opens the control socket. Raises what `atoll.rpc.serve` raises. Without a file there is nothing to reload."""

    async def handle(method: str, parameters: Document) -> Document:
        try:
            if method == "reload" and config_file is not None:
                await network.use(read_links_config(config_file))
                return _statistics(network.statistics()).model_dump(mode="json")
            answer = await _handle(network, method, parameters)
        except NoSuchLinkError as error:
            raise RpcError("no-such-link", str(error)) from error
        except LinksConfigError as error:
            raise RpcError("bad-request", str(error)) from error
        except OSError as error:
            raise RpcError("not-possible", error.strerror or str(error)) from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "parameters"
            raise RpcError(
                "bad-request", f"{method}: {where}: {first['msg']}, got {first['input']!r}"
            ) from error
        return answer.model_dump(mode="json")

    return await serve(path, handle)


async def _handle(network: Network, method: str, parameters: Document) -> BaseModel:
    match method:
        case "set":
            wanted = SetParameters.model_validate(parameters)
            return _shapes(await network.reshape(wanted.selection(), wanted.change))
        case "heal":
            return _shapes(await network.heal(SelectionParameters.model_validate(parameters).selection()))
        case "lose":
            selection = SelectionParameters.model_validate(parameters).selection()
            return LoseAnswer(connections=network.lose(selection))
        case "statistics":
            NoParameters.model_validate(parameters)
            return _statistics(network.statistics())
    raise RpcError(
        "no-such-method", f"no method {method!r}; there are set, heal, lose, reload and statistics"
    )


Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class LinksClient:
    """Puts faults on the links of a running links process. Every method raises `RpcError`."""

    control: Path

    async def set(
        self,
        selection: Selection,
        *,
        latency_ms: float | None = None,
        jitter_ms: float | None = None,
        rate_bytes_per_s: float | None = None,
        cut: bool | None = None,
    ) -> ShapesAnswer:
        """Changes the given parts of the selected directions' shape; None leaves a part as it is."""
        parts = {
            "latency_ms": latency_ms,
            "jitter_ms": jitter_ms,
            "rate_bytes_per_s": rate_bytes_per_s,
            "cut": cut,
        }
        given: Document = {name: value for name, value in parts.items() if value is not None}
        return await self._call("set", _selected(selection) | given, ShapesAnswer)

    async def heal(self, selection: Selection | None = None) -> ShapesAnswer:
        """Brings the selected directions (None: all) back to the topology's shape."""
        return await self._call("heal", _selected(selection or Selection()), ShapesAnswer)

    async def lose(self, selection: Selection) -> LoseAnswer:
        """Resets the connections that travel on the selected directions."""
        return await self._call("lose", _selected(selection), LoseAnswer)

    async def reload(self) -> StatisticsAnswer:
        """Has the links follow their file as it is now: relays that are in it stay as they are, with their connections
        and faults; new ones begin, others end.
        """
        return await self._call("reload", {}, StatisticsAnswer)

    async def statistics(self) -> StatisticsAnswer:
        return await self._call("statistics", {}, StatisticsAnswer)

    async def _call(self, method: str, parameters: Document, answer: type[Answer]) -> Answer:
        document = await Client(self.control).call(method, parameters)
        try:
            return answer.model_validate(document)
        except ValidationError as error:
            raise RpcError(
                "bad-answer", f"{self.control} answered {method!r} with something unexpected"
            ) from error


def _selected(selection: Selection) -> Document:
    return {
        "source": selection.source,
        "destination": selection.destination,
        "both_ways": selection.both_ways,
    }


def _direction(key: Key, shape: Shape) -> DirectionDocument:
    return DirectionDocument(
        source=key[0],
        destination=key[1],
        latency_ms=shape.latency_s * 1000,
        jitter_ms=shape.jitter_s * 1000,
        rate_bytes_per_s=shape.rate_bytes_per_s,
        cut=shape.cut,
    )


def _shapes(shapes: dict[Key, Shape]) -> ShapesAnswer:
    return ShapesAnswer(directions=tuple(_direction(key, shape) for key, shape in shapes.items()))


def _statistics(statistics: LinksStatistics) -> StatisticsAnswer:
    return StatisticsAnswer(
        directions=tuple(
            DirectionReport(
                **_direction(key, direction.shape).model_dump(),
                bytes_sent=direction.bytes_sent,
                bytes_delivered=direction.bytes_delivered,
                bytes_waiting=direction.bytes_waiting,
                bytes_in_flight=direction.bytes_in_flight,
                cuts=direction.cuts,
            )
            for key, direction in statistics.directions.items()
        ),
        relays=tuple(
            RelayReport(
                source=relay.source,
                destination=relay.destination,
                listen_port=relay.listen_port,
                target_host=relay.target_host,
                target_port=relay.target_port,
                state=relay.state,
                connections=relay.connections,
                accepted=relay.accepted,
                refused=relay.refused,
            )
            for relay in statistics.relays
        ),
    )
