"""Reads, which of the store itself are plain commands and no functions of the library."""

from collections.abc import Mapping

from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.model.region import Region
from atoll.state.store import REGISTER_FIELD, CellKey
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import Actor


class Reading(Region):
    """What is there, removed values included."""

    def read_register(self, namespace: str, key: str) -> Envelope | None:
        return self._envelope(namespace, CellKey(Kind.REGISTER, key, REGISTER_FIELD))

    def read_map(self, namespace: str, key: str) -> Mapping[str, Envelope]:
        cells = self._state.cells.fields(namespace, Kind.MAP, key)
        return {name: value for name, value in cells.items() if isinstance(value, Envelope)}

    def read_field(self, namespace: str, key: str, field: str) -> Envelope | None:
        return self._envelope(namespace, CellKey(Kind.MAP, key, field))

    def read_counter(self, namespace: str, key: str) -> Mapping[Actor, Tally]:
        cells = self._state.cells.fields(namespace, Kind.COUNTER, key)
        return {actor: value for actor, value in cells.items() if isinstance(value, Tally)}

    def read_set(self, namespace: str, key: str) -> Mapping[str, Dots]:
        cells = self._state.cells.fields(namespace, Kind.SET, key)
        return {element: value for element, value in cells.items() if isinstance(value, Dots)}

    def read_element(self, namespace: str, key: str, element: str) -> Dots:
        return self._dots(namespace, CellKey(Kind.SET, key, element))
