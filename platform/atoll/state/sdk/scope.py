"""What state operations of a request go through. Kept by the middleware while a replica works on the request."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from atoll.resilience.deadline import Deadline
from atoll.state.errors import StateError
from atoll.state.sdk.regional import RegionalState
from atoll.state.session import Session
from atoll.state.vector import Dot


class NoState(StateError):
    """The state was used where there is none."""


class Companion(Protocol):
    """What stands on a process's access to the state: its caches. Opened by the layer above, closed with the access."""

    async def wrote(self, namespace: str, key: str, dot: Dot) -> None:
        """This process has written, and the write is in the region's store."""
        ...

    async def close(self) -> None: ...


class Access(Protocol):
    """A process's access to the state, as far as a scope knows it."""

    companion: Companion | None


@dataclass(slots=True)
class Scope:
    """One request's, or a background task's."""

    regional: RegionalState
    session: Session = field(default_factory=Session)
    deadline: Deadline | None = None
    """Until when the client waits; None if nobody does."""
    wrote: bool = False
    """Whether something was changed, so that the request must not be sent to another region any more."""
    stale: bool = False
    """Whether something was read that may be older than the session or the bound of its namespace allows."""
    access: Access | None = None
    """Which it was made by; None in tests."""

    async def told(self, namespace: str, key: str, dot: Dot) -> None:
        """A write was made: what stands on the state learns of it before its author does."""
        if self.access is not None and self.access.companion is not None:
            await self.access.companion.wrote(namespace, key, dot)


_current: ContextVar[Scope | None] = ContextVar("atoll_state", default=None)


def current() -> Scope:
    """The scope of the request that is being served. Raises `NoState` outside of one."""
    scope = _current.get()
    if scope is None:
        raise NoState(
            "the state is there while a request is served by an application with AtollMiddleware "
            "(app.add_middleware(AtollMiddleware)) in a cell, or inside `async with state.background():`"
        )
    return scope


@contextmanager
def entered(scope: Scope) -> Iterator[Scope]:
    """Makes `scope` the current one."""
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)
