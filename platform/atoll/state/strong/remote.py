"""Another process's proposer: strong registers through an agent, of the own region or of another."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from atoll.channel import CallError, CallLost, NotSent, Remote, Wire
from atoll.state.strong.backend import Change, Outcome, Unavailable, Unknown, Versioned
from atoll.state.strong.wire import (
    UnknownMessage,
    decode_outcome,
    decode_versioned,
    encode_change,
)

TIMEOUT_S = 5.0
"""For an operation whose caller names no limit."""
MARGIN = 0.1
"""Share of a limit that is kept for the way there and back: who is asked must give up before who asks."""

Call: TypeAlias = Callable[[str, Wire, float], Awaitable[Wire]]
"""Method, body and seconds; raises `CallError`."""


class RemoteProposer:
    """A `StrongBackend` on the other side of a connection. `methods` is the first part of the methods' names."""

    def __init__(self, call: Call, methods: str) -> None:
        self._call = call
        self._methods = methods

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        limit = TIMEOUT_S if timeout_s is None else timeout_s
        try:
            body: Wire = [namespace, key, limit * (1 - MARGIN)]
            return decode_versioned(await self._call(f"{self._methods}.get", body, limit))
        except (CallError, UnknownMessage) as error:
            raise Unavailable(f"reading {namespace}/{key}: {error}") from error

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        limit = TIMEOUT_S if timeout_s is None else timeout_s
        try:
            body: Wire = [namespace, key, limit * (1 - MARGIN), encode_change(change)]
            return decode_outcome(await self._call(f"{self._methods}.change", body, limit))
        except Remote as error:
            if error.kind == "unavailable":
                raise Unavailable(error.detail) from error
            raise Unknown(error.detail) from error
        except NotSent as error:
            raise Unavailable(f"changing {namespace}/{key}: {error}") from error
        except (CallLost, UnknownMessage) as error:
            raise Unknown(
                f"changing {namespace}/{key}: {error}. It may have been done: repeat it with the same operation id"
            ) from error
