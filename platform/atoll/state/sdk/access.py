"""A process's access to its region's state and cache stores, opened from the wiring that the cell has written."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from atoll.channel import Caller
from atoll.clock import Clock
from atoll.resilience.deadline import Deadline
from atoll.secrets import read_secret
from atoll.state.sdk.admission import only_complete
from atoll.state.sdk.regional import RegionalState
from atoll.state.sdk.scope import Companion, Scope
from atoll.state.session import Session, SessionTokens, pruned
from atoll.state.strong.remote import RemoteProposer
from atoll.state.valkey_store import ValkeyStore
from atoll.state.vector import NOTHING
from atoll.state.wiring import StateWiring, read_state_wiring
from atoll.stores import open_store
from atoll.tls import CellTls, Role
from atoll.topology.wiring import StoreAccess, WiringError

LOOK_S = 1.0
"""How often a process looks whether its wiring has changed."""


@dataclass(slots=True)
class Wired:
    """A wiring file, and the version of it that is in force."""

    path: Path
    wiring: StateWiring
    changed_ns: int
    looked: float
    tls: CellTls | None = None


class StateAccess:
    """One a process, in one event loop."""

    def __init__(
        self,
        regional: RegionalState,
        tokens: SessionTokens,
        clock: Clock,
        closing: Callable[[], Awaitable[None]],
        wired: Wired | None = None,
    ) -> None:
        """`closing` ends the connections that `regional` uses."""
        self.regional = regional
        self._tokens = tokens
        self._clock = clock
        self._closing = closing
        self._wired = wired
        self.companion: Companion | None = None

    @property
    def cache(self) -> StoreAccess | None:
        """The region's cache store; None without a wiring."""
        return None if self._wired is None else self._wired.wiring.cache

    @classmethod
    def open(cls, path: Path, clock: Clock, chance: Random) -> "StateAccess":
        """Reads the wiring; connects when something is asked for. Raises `WiringError`, `SecretError`."""
        changed_ns = path.stat().st_mtime_ns if path.exists() else 0
        wiring = read_state_wiring(path)
        check = only_complete(wiring.region)
        client, tail = (open_store(wiring.state, connected=check) for _ in range(2))
        store = ValkeyStore(client, tail, wiring.region)
        tls = None if wiring.tls is None else CellTls(wiring.tls, Role.AGENT, wiring.region, clock)
        agent = Caller(
            wiring.agent,
            read_secret(wiring.agent_token_file).encode(),
            f"{wiring.region}/replica",
            tls=None if tls is None else tls.calling(Role.AGENT, wiring.region),
        )
        strong = RemoteProposer(agent.call, "strong")
        regional = RegionalState(wiring.region, wiring.namespaces, store, store.follow, strong, clock, chance)
        tokens = SessionTokens(read_secret(wiring.session_key_file).encode())

        async def close() -> None:
            await store.aclose()
            await agent.close()

        return cls(regional, tokens, clock, close, Wired(path, wiring, changed_ns, clock.monotonic(), tls))

    def scope(self, token: str | None = None, deadline: Deadline | None = None) -> Scope:
        """The state of one request. A token that is none of this deployment's begins a new session."""
        self._look()
        needs = None if token is None else self._tokens.read(token)
        return Scope(self.regional, Session(needs or NOTHING), deadline, access=self)

    async def token(self, session: Session) -> str:
        """The session as text, without what every region is known to have: it needs no store, so whoever has written
        always learns of it.
        """
        return self._tokens.write(pruned(session.needs(), await self.regional.stable()))

    def join(self, session: Session, token: str) -> None:
        """Takes over what another service has read and written for the same client."""
        if (other := self._tokens.read(token)) is not None:
            session.join(other)

    async def close(self) -> None:
        if self.companion is not None:
            await self.companion.close()
        await self.regional.close()
        await self._closing()

    def _look(self) -> None:
        """Takes up a wiring that was replaced; one that can't be read changes nothing."""
        wired = self._wired
        if wired is None or self._clock.monotonic() - wired.looked < LOOK_S:
            return
        wired.looked = self._clock.monotonic()
        if wired.tls is not None:
            wired.tls.poll()
        try:
            changed_ns = wired.path.stat().st_mtime_ns
            if changed_ns != wired.changed_ns:
                wired.changed_ns = changed_ns
                self.regional.use(read_state_wiring(wired.path).namespaces)
        except (OSError, WiringError):
            return
