"""The caches of a process over its region's state: what a replica, and whatever else uses the state, has of itself.

They are opened with the access to the state (`AtollMiddleware` does that; elsewhere the first use of a cache does), and
closed with it. Each write that goes through a handle of the state drops its key at once; the agent drops it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from atoll.cache.caches import Caches
from atoll.cache.policy import TierPolicy
from atoll.cache.source import Loaded
from atoll.cache.tiers import Tiers
from atoll.cache.valkey_store import ValkeyCacheStore
from atoll.clock import SystemClock
from atoll.state.errors import StateError
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.objects import ready, write
from atoll.state.sdk.regional import UnknownNamespace
from atoll.state.sdk.scope import NoState, Scope, current, entered
from atoll.state.session import Session
from atoll.state.stamp import wall_ms
from atoll.state.store import REGISTER_FIELD, CellChange
from atoll.state.vector import NOTHING, Dot, Vector
from atoll.state.wiring import NamespaceWiring
from atoll.stores import open_store
from atoll.topology import DataType, Level


class NoCaches(StateError):
    """A cache was used where none is open."""


def opened(access: StateAccess, policy: TierPolicy | None = None) -> Caches:
    """The caches over an access: the same ones as long as it is open.

    Raises `NoCaches` for an access without a wiring, `SecretError`.
    """
    if isinstance(access.companion, Caches):
        return access.companion
    if access.cache is None:
        raise NoCaches("this access to the state has no cache store; give over() and of() their `caches`")
    store = ValkeyCacheStore(open_store(access.cache, retries=1))
    access.companion = caches = Caches(
        Tiers(store, SystemClock(), Random(), policy),
        ScopeSession(),
        position=access.regional.store.vector,
        loading=lambda: _somewhere(access),
        closing=store.close,
    )
    return caches


def of_scope() -> Caches:
    """The caches of whoever runs now. Raises `NoCaches`."""
    try:
        access = current().access
    except NoState as error:
        raise NoCaches(f"a cache was used where there is no state: {error}") from None
    if not isinstance(access, StateAccess):
        raise NoCaches("this scope of the state belongs to no process; give over() and of() their `caches`")
    return opened(access)


class StateSource:
    """Registers of a namespace of the state. Its bytes are the registers' payloads, whatever their codec."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def load(self, key: str) -> Loaded:
        """As `Register.get`, in the scope of whoever runs now."""
        regional = current().regional
        vector = (
            await regional.store.vector()
        )  # first: read after the value, it could cover a write that came between
        access = await ready(self._name, DataType.REGISTER)
        found = await regional.store.read_register(self._name, key)
        if found is None:
            return Loaded(None, None, vector)
        now_ms = wall_ms(regional.clock)
        value = found.visible(now_ms)
        access.session.saw(found.dot)
        left_s = (found.expiry_ms - now_ms) / 1000 if value is not None and found.expiry_ms else None
        return Loaded(value, found.dot, vector, left_s)

    async def store(self, key: str, value: bytes | None) -> Dot:
        """As `Register.set`: as durable as the namespace says; the scope's caches learn of it before that."""
        changes = [CellChange(REGISTER_FIELD, value)]
        return (await write(self._name, DataType.REGISTER, key, lambda _: changes)).dot


class ScopeSession:
    """That of the request that is being served, for namespaces of level ``session``; others have none."""

    __slots__ = ()

    async def needs(self, *namespaces: str) -> Vector:
        """Also keeps each namespace's bound of staleness, for what a cache answers is no newer than the state."""
        scope, needs = current(), NOTHING
        for name in namespaces:
            wiring = _wiring(scope, name)
            if wiring.level is Level.SESSION:
                needs = scope.session.needs()
            if wiring.max_staleness_s is not None and not await scope.regional.catch_up(
                name, wiring, Session(), scope.deadline
            ):
                scope.stale = True
        return needs

    def saw(self, namespace: str, dot: Dot) -> None:
        scope = current()
        if _wiring(scope, namespace).level is Level.SESSION:
            scope.session.saw(dot)


def _wiring(scope: Scope, namespace: str) -> NamespaceWiring:
    wiring = scope.regional.holding(namespace)
    if wiring.level is Level.STRONG:
        raise UnknownNamespace(
            f"{namespace} is of level strong, whose writes stand in no log that would drop them from a cache: "
            f"read it with state.strong({namespace!r})"
        )
    return wiring


@contextmanager
def _somewhere(access: StateAccess) -> Iterator[None]:
    """A load that no reader waits for, or that many do, reads the state as somebody without a session."""
    try:
        current()
    except NoState:
        with entered(access.scope()):
            yield
    else:
        yield
