"""A namespace, by name: where a service author begins.

What each operation costs: a read of a register is one GET in the region's own store, one of a map, a counter or a set
one HGETALL; a write is one function call there, and is on disk before it returns. Nothing asks another region, except
a write to a namespace of durability ``remote``, which waits until one of them has it (a round trip), and a session
read in a region that is behind, which waits for what is on its way.
"""

from dataclasses import dataclass
from typing import Any, TypeVar, overload

from atoll.state.sdk.objects import Counter, Map, Register, Set
from atoll.state.sdk.regional import Staleness
from atoll.state.sdk.scope import current
from atoll.state.values import codec_for

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Namespace:
    """One of level ``eventual`` or ``session``. Cheap to make: nothing is asked before an object is used.

    `model` is ``bytes``, a pydantic model or any type that pydantic validates; without one values are plain JSON.
    """

    name: str

    @overload
    def register(self, key: str) -> Register[Any]: ...
    @overload
    def register(self, key: str, model: type[T]) -> Register[T]: ...
    def register(self, key: str, model: Any = None) -> Register[Any]:
        """One value; the last writer wins."""
        return Register(self.name, key, codec_for(model))

    @overload
    def map(self, key: str) -> Map[Any]: ...
    @overload
    def map(self, key: str, model: type[T]) -> Map[T]: ...
    def map(self, key: str, model: Any = None) -> Map[Any]:
        """Fields with a value each; the last writer of a field wins."""
        return Map(self.name, key, codec_for(model))

    def counter(self, key: str) -> Counter:
        """A sum to which every region adds."""
        return Counter(self.name, key)

    def set(self, key: str) -> Set:
        """Elements; an addition wins over a removal that has not seen it."""
        return Set(self.name, key)

    async def staleness(self) -> Staleness:
        """How old what this region knows of the others may be, from their heartbeats."""
        regional = current().regional
        return await regional.staleness(regional.holding(self.name))


def namespace(name: str) -> Namespace:
    """A namespace of the topology."""
    return Namespace(name)
