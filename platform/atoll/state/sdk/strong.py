"""Strong namespaces: linearizable registers, for what must never be wrong.

Each operation takes effect at one moment between its call and its return, whatever region it is called in. It costs a
round trip to the key's home region, and from there one to the nearest majority of acceptors; a read as much. With a
majority out of reach it raises `Unavailable`, and nothing was done. After `Unknown` it may have been done: repeat it
with the same `operation`, which makes it once at most.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from atoll.resilience.backoff import Backoff
from atoll.resilience.deadline import Deadline
from atoll.state.sdk.combining import settled
from atoll.state.sdk.regional import RegionalState
from atoll.state.sdk.scope import current
from atoll.state.strong.backend import (
    ABSENT,
    ANY,
    DELETE,
    Change,
    Committed,
    Conflict,
    Delete,
    Expect,
    Unavailable,
    Unknown,
    Versioned,
)
from atoll.state.strong.leases import Lease, LeaseLost, Leases
from atoll.state.values import Codec, codec_for

T = TypeVar("T")

TIMEOUT_S = 5.0
"""For an operation of a request that has no deadline."""
AGAIN_BASE_S, AGAIN_CAP_S = 0.01, 0.5


class Changed(Exception):
    """The register is not as expected, so nothing was changed; `current` is what it is now."""

    def __init__(self, namespace: str, key: str, current: "Found[Any] | None") -> None:
        now = "absent" if current is None else f"at version {current.version}"
        super().__init__(
            f"strong register {namespace}/{key} is {now}, which was not expected; nothing was changed"
        )
        self.current = current


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A register's value and its version, which every change raises."""

    value: T
    version: int


@dataclass(frozen=True, slots=True)
class Strong(Generic[T]):
    """A strong namespace. Everything raises `Unavailable`; what changes something also raises `Unknown`.

    `operation` names a change for repetitions, in this request or another: the same name is carried out once at most,
    and answers as it did first. A register remembers its last 64 operations (of refused ones those alone that a later
    version might let through); after that a name counts as new: a repeated `put` writes once more, `compare_and_set`
    raises `Changed` though it may have been made, and `update` applies its function once more. So repeat soon; after
    longer, read the value first.
    """

    name: str
    codec: Codec[T]

    async def get(self, key: str) -> Found[T] | None:
        """The value; None if there is none."""
        regional, deadline = _here(self.name, writes=False)
        found = await regional.strong.get(self.name, key, timeout_s=deadline.remaining_s)
        return self._found(key, found)

    async def put(self, key: str, value: T, *, operation: str | None = None) -> int:
        """Writes, whatever was there; the new version."""
        return await self._change(key, ANY, self.codec.encode(value), operation)

    async def create(self, key: str, value: T, *, operation: str | None = None) -> int:
        """Writes the first value; its version. Raises `Changed` if there is one."""
        return await self._change(key, ABSENT, self.codec.encode(value), operation)

    async def compare_and_set(
        self, key: str, expected: int, value: T, *, operation: str | None = None
    ) -> int:
        """Writes if the register has this version; the new one. Raises `Changed`."""
        return await self._change(key, expected, self.codec.encode(value), operation)

    async def delete(self, key: str, expected: int | None = None, *, operation: str | None = None) -> int:
        """Removes the value, if the register has this version. Raises `Changed`."""
        return await self._change(key, ANY if expected is None else expected, DELETE, operation)

    async def update(
        self, key: str, change: Callable[[T | None], T], *, operation: str | None = None
    ) -> Found[T]:
        """Replaces the value by ``change(value)``, again and again until nobody came in between.

        `change` gets None where there is no value, is called once for each try, and must do nothing else. What it
        raises ends the update, and nothing is changed. Updates of a register that this process makes at the same time
        share round trips: each has its own value and version, as if they had come one after the other. One that has
        a name goes by itself; repeated after others have followed, it answers with the value that is there now.
        """
        if operation is not None:
            return await self._update_once(key, change, operation)
        regional, deadline = _here(self.name)

        def apply(before: bytes | None) -> bytes:
            return self.codec.encode(
                change(None if before is None else self.codec.decode(before, self.name, key))
            )

        made = await regional.combining.update(self.name, key, apply, deadline)
        return Found(self.codec.decode(made.value, self.name, key), made.version)

    async def _update_once(self, key: str, change: Callable[[T | None], T], operation: str) -> Found[T]:
        """Every try has the same id, so that a repetition finds the one that was made, whichever it was. Once an id
        was refused for good the next one is taken, by a repetition as well: it is refused the same ones.
        """
        regional, deadline = _here(self.name)
        backoff = Backoff(AGAIN_BASE_S, AGAIN_CAP_S, regional.chance)
        seen = await self.get(key)
        refused = 0
        while True:
            value = change(None if seen is None else seen.value)
            expect = ABSENT if seen is None else seen.version
            wanted = Change(expect, self.codec.encode(value), f"{operation}/{refused}")
            outcome = await settled(regional.strong, self.name, key, wanted, lambda: deadline.remaining_s)
            if isinstance(outcome, Committed):
                if seen is None or outcome.version > seen.version:
                    return Found(value, outcome.version)
                return seen
            now = self._found(key, outcome.current)
            if expect is ABSENT or (now is not None and now.version == expect):
                refused += 1
            seen = now
            if deadline.expired:
                raise Unavailable(
                    f"strong register {self.name}/{key} was changed by others at every try until the deadline; "
                    "nothing was done"
                )
            await asyncio.sleep(backoff.next_s())

    @asynccontextmanager
    async def lease(self, name: str, term_s: float, *, wait_s: float = 0.0) -> AsyncIterator[Lease | None]:
        """Holds a lease while the body runs, without renewing it; None if another one has it.

        It excludes nobody by itself: give `Lease.token` along with what it guards, and refuse lower ones there.
        """
        regional, _ = _here(self.name)
        leases = Leases(regional.strong, self.name, f"{regional.region}/{uuid.uuid4().hex}", regional.clock)
        held = await leases.acquire(name, term_s, wait_s=wait_s)
        try:
            yield held
        finally:
            if held is not None:
                await leases.release(held)

    async def _change(
        self, key: str, expect: int | Expect, value: "bytes | Delete", operation: str | None
    ) -> int:
        regional, deadline = _here(self.name)
        wanted = Change(expect, value, operation or uuid.uuid4().hex)
        outcome = await settled(regional.strong, self.name, key, wanted, lambda: deadline.remaining_s)
        if isinstance(outcome, Conflict):
            raise Changed(self.name, key, self._found(key, outcome.current))
        return outcome.version

    def _found(self, key: str, found: Versioned | None) -> Found[T] | None:
        return None if found is None else Found(self.codec.decode(found.value, self.name, key), found.version)


@overload
def strong(name: str) -> Strong[Any]: ...
@overload
def strong(name: str, model: type[T]) -> Strong[T]: ...
def strong(name: str, model: Any = None) -> Strong[Any]:
    """A namespace of level ``strong``. `model` is what its registers hold; without one, plain JSON."""
    return Strong(name, codec_for(model))


def _here(name: str, *, writes: bool = True) -> tuple[RegionalState, Deadline]:
    scope = current()
    scope.regional.strong_namespace(name)
    scope.wrote = scope.wrote or writes
    return scope.regional, scope.deadline or Deadline(scope.regional.clock, TIMEOUT_S)


__all__ = ["Changed", "Found", "Lease", "LeaseLost", "Strong", "Unavailable", "Unknown", "strong"]
