"""Registers, maps, counters and sets: handles on one key each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.sdk.regional import RegionalState, RegionBehind
from atoll.state.sdk.scope import Scope, current
from atoll.state.session import Session
from atoll.state.stamp import wall_ms
from atoll.state.store import (
    REGISTER_FIELD,
    CellChange,
    Change,
    CounterChange,
    SetChange,
    WriteResult,
)
from atoll.state.types import counter
from atoll.state.types.awset import Dots
from atoll.state.values import Codec
from atoll.state.vector import NOTHING, Dot, Vector
from atoll.state.wiring import NamespaceWiring
from atoll.topology import DataType, Level

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Register(Generic[T]):
    """One value. Of two writes that don't know of each other, the one with the later stamp wins in every region."""

    namespace: str
    key: str
    codec: Codec[T]

    async def get(self) -> T | None:
        """The value; None if there is none, or it has expired."""
        access = await ready(self.namespace, DataType.REGISTER)
        found = await access.regional.store.read_register(self.namespace, self.key)
        return _shown(access, found, self.codec, self.namespace, self.key)

    async def set(self, value: T, *, ttl_s: float | None = None) -> None:
        """Writes the value. From `ttl_s` seconds on no region shows it any more."""
        payload = self.codec.encode(value)
        await write(
            self.namespace,
            DataType.REGISTER,
            self.key,
            lambda access: [CellChange(REGISTER_FIELD, payload, access.expiry_ms(ttl_s))],
        )

    async def delete(self) -> bool:
        """Removes the value; whether there was one here."""
        written = await write(
            self.namespace, DataType.REGISTER, self.key, lambda _: [CellChange(REGISTER_FIELD, None)]
        )
        return written.existed[0]


@dataclass(frozen=True, slots=True)
class Map(Generic[T]):
    """Fields with a value each; writes to different fields never disturb each other."""

    namespace: str
    key: str
    codec: Codec[T]

    async def get(self, field: str) -> T | None:
        """The value of a field; None if there is none, or it has expired."""
        access = await ready(self.namespace, DataType.MAP)
        found = await access.regional.store.read_field(self.namespace, self.key, field)
        return _shown(access, found, self.codec, self.namespace, self.key)

    async def items(self) -> dict[str, T]:
        """All fields with their values, in the order of their names."""
        access = await ready(self.namespace, DataType.MAP)
        found = await access.regional.store.read_map(self.namespace, self.key)
        values = {
            field: _shown(access, found[field], self.codec, self.namespace, self.key)
            for field in sorted(found)
        }
        return {field: value for field, value in values.items() if value is not None}

    async def set(self, field: str, value: T, *, ttl_s: float | None = None) -> None:
        """Writes one field."""
        await self.update({field: value}, ttl_s=ttl_s)

    async def update(self, values: Mapping[str, T], *, ttl_s: float | None = None) -> None:
        """Writes several fields in one step: a region shows all of them or none."""
        payloads = {field: self.codec.encode(value) for field, value in values.items()}
        if payloads:
            await write(
                self.namespace,
                DataType.MAP,
                self.key,
                lambda access: [
                    CellChange(field, payload, access.expiry_ms(ttl_s)) for field, payload in payloads.items()
                ],
            )

    async def remove(self, *fields: str) -> bool:
        """Removes fields in one step; whether any of them was there."""
        if not fields:
            return False
        changes = [CellChange(field, None) for field in dict.fromkeys(fields)]
        written = await write(self.namespace, DataType.MAP, self.key, lambda _: changes)
        return any(written.existed)


@dataclass(frozen=True, slots=True)
class Counter:
    """A sum. Every region adds to its own part, so no addition is lost, and none is counted twice."""

    namespace: str
    key: str

    async def value(self) -> int:
        """The sum of all additions that this region knows."""
        access = await ready(self.namespace, DataType.COUNTER)
        found = await access.regional.store.read_counter(self.namespace, self.key)
        access.session.saw(*(Dot(actor, tally.seq) for actor, tally in found.items()))
        return counter.total(found.values())

    async def add(self, amount: int = 1) -> int:
        """Adds, or with a negative amount takes away; the sum afterwards, as this region knows it."""
        written = await write(self.namespace, DataType.COUNTER, self.key, lambda _: [CounterChange(amount)])
        assert written.total is not None, "the store answers a counter's write with its total"
        return written.total


@dataclass(frozen=True, slots=True)
class Set:
    """Elements, which are text. Of an addition and a removal that don't know of each other, the addition wins."""

    namespace: str
    key: str

    async def members(self) -> frozenset[str]:
        """All elements that this region knows."""
        access = await ready(self.namespace, DataType.SET)
        found = await access.regional.store.read_set(self.namespace, self.key)
        await access.saw_elements(found.values())
        return frozenset(element for element, dots in found.items() if dots.live)

    async def contains(self, element: str) -> bool:
        access = await ready(self.namespace, DataType.SET)
        dots = await access.regional.store.read_element(self.namespace, self.key, element)
        await access.saw_elements([dots])
        return bool(dots.live)

    async def add(self, *elements: str) -> None:
        """Puts elements in, in one step."""
        await self._change(elements, present=True)

    async def remove(self, *elements: str) -> None:
        """Takes elements out, in one step: those additions of them that this region knows."""
        await self._change(elements, present=False)

    async def _change(self, elements: Sequence[str], *, present: bool) -> None:
        if elements:
            changes = [SetChange(element, present) for element in dict.fromkeys(elements)]
            await write(self.namespace, DataType.SET, self.key, lambda _: changes)


_KINDS = {
    DataType.REGISTER: Kind.REGISTER,
    DataType.MAP: Kind.MAP,
    DataType.COUNTER: Kind.COUNTER,
    DataType.SET: Kind.SET,
}


@dataclass(frozen=True, slots=True)
class Access:
    """To one namespace, for one operation, after the region has caught up."""

    scope: Scope
    wiring: NamespaceWiring
    session: Session
    """The client's, if the namespace is of that level; else one that is thrown away."""

    @property
    def regional(self) -> RegionalState:
        return self.scope.regional

    def expiry_ms(self, ttl_s: float | None) -> int:
        return 0 if ttl_s is None else wall_ms(self.regional.clock) + int(ttl_s * 1000)

    async def saw_elements(self, elements: Iterable[Dots]) -> None:
        """A removal leaves no dot that the client could remember, so it remembers all that the region knew."""
        for dots in elements:
            self.session.saw(*dots.live)
        if self.session is self.scope.session:
            self.session.join(await self.regional.store.vector())

    def dependencies(self) -> Vector:
        """What must be known wherever a write of now is applied. What this epoch of the region wrote comes before it
        anyway; of an earlier one its log may have nothing left, if the disk was lost.
        """
        if self.session is not self.scope.session:
            return NOTHING
        own = self.regional.actor
        return Vector((actor, seq) for actor, seq in self.session.needs().items() if actor != own)


async def ready(namespace: str, kind: DataType) -> Access:
    """Returns once the region may show what the namespace promises."""
    scope = current()
    wiring = scope.regional.namespace(namespace, kind)
    if not await scope.regional.catch_up(namespace, wiring, scope.session, scope.deadline):
        scope.stale = True
    return Access(scope, wiring, scope.session if wiring.level is Level.SESSION else Session())


async def write(
    namespace: str, kind: DataType, key: str, changes: Callable[[Access], Sequence[Change]]
) -> WriteResult:
    """Writes as `namespace` promises; returns when the write is as durable as it says."""
    access = await ready(namespace, kind)
    try:
        written = await access.regional.store.write(
            namespace, _KINDS[kind], key, changes(access), access.dependencies()
        )
    except RegionBehind:
        raise  # it was kept out of the store, and nothing was done
    except BaseException:
        access.scope.wrote = True
        raise
    access.scope.wrote = True
    access.session.saw(written.dot)
    await access.scope.told(namespace, key, written.dot)
    await access.regional.secure(namespace, access.wiring, written, access.scope.deadline)
    return written


def _shown(access: Access, found: Envelope | None, codec: Codec[T], namespace: str, key: str) -> T | None:
    """The value of a cell; the client has seen it, or its removal."""
    if found is None:
        return None
    access.session.saw(found.dot)
    payload = found.visible(wall_ms(access.regional.clock))
    return None if payload is None else codec.decode(payload, namespace, key)
