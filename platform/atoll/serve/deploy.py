"""Brings a region's Serve to a set of applications, or says why it does not run."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from atoll.clock import Clock
from atoll.serve.client import Refused, ServeError, Unreachable
from atoll.serve.document import ApplicationSet
from atoll.serve.raised import raised
from atoll.serve.status import ServeStatus
from atoll.serve.store import SetStore
from atoll.serve.verdict import (
    ApplicationProgress,
    Comes,
    Differs,
    Fails,
    Failure,
    Runs,
    Verdict,
    judge,
    progress,
)

DEPLOY_TIMEOUT_S = 180.0
"""A first start of all services of a region took 20 s alone on two cores, and a minute beside two others."""
POLL_S = 0.5
RESEND_S = 5.0
"""How long a set may be missing before it is sent again: a Serve that was just shutting down takes it up and then
forgets it, and so does one whose head is restarted."""


class Serve(Protocol):
    """What a deployer needs of `atoll.serve.client.ServeClient`."""

    async def applications(self) -> ServeStatus: ...

    async def put(self, wanted: ApplicationSet) -> None: ...


class DeploymentFailed(ServeError):
    """Serve does not run the set. The text ends with each replica's own error."""

    def __init__(self, reason: str, failures: tuple[Failure, ...] = ()) -> None:
        super().__init__("\n".join([reason, *(f"  {failure}" for failure in failures)]))
        self.reason = reason
        self.failures = failures


class NothingToRollBack(Exception):
    """There is no earlier set that ran."""


@dataclass(frozen=True, slots=True)
class DeployProgress:
    """How far a deployment is."""

    elapsed_s: float
    applications: tuple[ApplicationProgress, ...]

    def __str__(self) -> str:
        return ", ".join(str(application) for application in self.applications)


@dataclass(frozen=True, slots=True)
class Deployed:
    """The set runs: every application with its replicas."""

    changed: bool
    """False if it ran already and nothing was sent."""
    elapsed_s: float


def _unheard(progress: DeployProgress) -> None:
    """For callers that don't show progress."""


class Deployer:
    """Deploys to one region. A region's Serve has one writer, so there must be one of these a region.

    Sending a set is safe to repeat, so what can't be reached or is not ready is tried again until time is up.
    """

    def __init__(
        self,
        serve: Serve,
        store: SetStore,
        clock: Clock,
        *,
        timeout_s: float = DEPLOY_TIMEOUT_S,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._serve = serve
        self._store = store
        self._clock = clock
        self._timeout_s = timeout_s
        self._pause = pause
        self._minimums: Mapping[str, int] = {}
        self._runs: ApplicationSet | None = None
        """What was deployed last; None while it does not run, as far as is known."""
        self._sent: ApplicationSet | None = None
        """The same as Serve was given it, raised; None while that is not known."""

    async def deploy(
        self, wanted: ApplicationSet, heard: Callable[[DeployProgress], None] = _unheard
    ) -> Deployed:
        """Returns when every application of the set runs with its replicas; `heard` is told of every change on the way.

        A set that runs already is a success at once. Raises `DeploymentFailed` if Serve gives up on an application or
        time runs out (replicas of before then serve on), another `ServeError` if Serve can't be talked to, and
        `SetStoreError` if the set can't be kept.
        """
        self._store.save_applied(wanted)
        self._runs = self._sent = None
        sent = raised(wanted, self._minimums)
        run = _Run(
            serve=self._serve,
            wanted=sent,
            clock=self._clock,
            timeout_s=self._timeout_s,
            pause=self._pause,
            heard=heard,
        )
        deployed = await run.until_it_runs()
        self._store.save_good(wanted)
        self._runs, self._sent = wanted, sent
        return deployed

    async def raise_to(self, minimums: Mapping[str, int]) -> bool:
        """Has Serve keep at least so many replicas of these services, and of the others what their set says. Holds for
        every later set too. Returns whether something was sent, without waiting for what comes of it.

        No replica is restarted. The sets that are kept, and that a rollback goes back to, know nothing of it. While
        what was deployed last does not run, nothing is sent. Raises `ServeError`; then try again.
        """
        self._minimums = dict(minimums)
        if self._runs is None:
            return False
        wanted = raised(self._runs, minimums)
        if wanted == self._sent:
            return False
        self._sent = None
        await self._serve.put(wanted)
        self._sent = wanted
        return True

    async def rollback(self, heard: Callable[[DeployProgress], None] = _unheard) -> Deployed:
        """Deploys the last set that ran if a later one failed, else the one before. Raises as `deploy`, and
        `NothingToRollBack`.
        """
        target = self._store.rollback_target()
        if target is None:
            raise NothingToRollBack(
                "no earlier set of applications ran in this region; deploy a corrected one"
            )
        return await self.deploy(target, heard)


class _Run:
    """One deployment."""

    def __init__(
        self,
        *,
        serve: Serve,
        wanted: ApplicationSet,
        clock: Clock,
        timeout_s: float,
        pause: Callable[[float], Awaitable[None]],
        heard: Callable[[DeployProgress], None],
    ) -> None:
        self._serve = serve
        self._wanted = wanted
        self._clock = clock
        self._timeout_s = timeout_s
        self._pause = pause
        self._heard = heard
        self._started = clock.monotonic()
        self._sent: float | None = None
        self._shown: tuple[ApplicationProgress, ...] = ()
        self._verdict: Verdict = Differs()

    async def until_it_runs(self) -> Deployed:
        while True:
            trouble: ServeError | None = None
            try:
                await self._look()
                match self._verdict:
                    case Runs():
                        return Deployed(changed=self._sent is not None, elapsed_s=self._elapsed_s)
                    case Fails(failures) if self._sent is not None:
                        raise DeploymentFailed(f"Serve gave up on {_names(failures)}", failures)
                    case Fails():  # from an earlier attempt
                        await self._send()
                    case Differs() if self._sent is None or self._clock.monotonic() - self._sent >= RESEND_S:
                        await self._send()
            except Unreachable as error:
                trouble = error
            except Refused as error:
                if error.status < 500:
                    raise
                trouble = error
            if self._elapsed_s >= self._timeout_s:
                raise trouble or self._too_late()
            await self._pause(POLL_S)

    @property
    def _elapsed_s(self) -> float:
        return self._clock.monotonic() - self._started

    async def _look(self) -> None:
        status = await self._serve.applications()
        self._refuse_to_move(status)
        self._verdict = judge(status, self._wanted)
        now = progress(status, self._wanted)
        if now != self._shown:
            self._shown = now
            self._heard(DeployProgress(self._elapsed_s, now))

    async def _send(self) -> None:
        await self._serve.put(self._wanted)
        self._sent = self._clock.monotonic()

    def _refuse_to_move(self, status: ServeStatus) -> None:
        """Serve would take such a set without a word, and stay where it is."""
        there, wanted = status.http_options, self._wanted.http_options
        if status.has_controller and there and (there.host, there.port) != (wanted.host, wanted.port):
            raise DeploymentFailed(
                f"Serve listens at {there.host}:{there.port} and can't move to {wanted.host}:{wanted.port} while it "
                f"runs; restart the region's Ray head"
            )

    def _too_late(self) -> DeploymentFailed:
        far = ", ".join(str(application) for application in self._shown) or "Serve does not know the set"
        reason = f"Serve did not run the set within {self._timeout_s:.0f} s: {far}"
        if isinstance(self._verdict, Differs):
            reason += "; it runs other applications than it was given, so look for another program that deploys to it"
        return DeploymentFailed(reason, self._verdict.troubles if isinstance(self._verdict, Comes) else ())


def _names(failures: tuple[Failure, ...]) -> str:
    return ", ".join(failure.application for failure in failures)
