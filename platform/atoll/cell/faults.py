"""Faults on a run: who is meant, what is done, and what is in force."""

from collections.abc import Collection

from atoll.cell.links.control import LinksClient
from atoll.cell.links.network import Selection
from atoll.cell.managed import ManagedProcess
from atoll.cell.mechanisms import MECHANISMS
from atoll.cell.ports import ENTRY
from atoll.cell.requests import Fault, FaultRequest
from atoll.cell.run import LOST, Run
from atoll.cell.status import FaultStatus
from atoll.cell.without import do_without
from atoll.clock import Clock
from atoll.rpc import RpcError

WARDEN = "warden"
LINKS = "links"
LINKS_UNAVAILABLE = "links-unavailable"
"""Kind of `RpcError`: the process that the links are in is not there to answer."""

LINK_FAULTS = frozenset({Fault.CUT, Fault.SLOW, Fault.THROTTLE})
_ONE_PROCESS = {
    Fault.FILL: ("state", "cache"),
    Fault.STARVE: ("state", "cache"),
    Fault.SKEW: ("state",),
    Fault.LIMP: ("replica/SERVICE",),
}
"""Faults that are on one process alone, with examples."""


class Faults:
    """Puts faults on a run and ends them. Every method raises `RpcError` for a wrong or impossible request."""

    def __init__(self, run: Run, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._in_force: list[FaultRequest] = []
        self._links = LinksClient(run.paths.links_socket)
        run.on_links_restart = self.reapply_links

    def statuses(self) -> tuple[FaultStatus, ...]:
        """The faults in force, in the order in which they were made."""
        return tuple(_status(request) for request in self._in_force)

    def on_region(self, region: str) -> Fault | None:
        """``kill`` or ``freeze``, if the whole region is so."""
        return self._holding(region)

    def refuse_held(self, region: str) -> None:
        """Raises `RpcError` (``not-possible``) if a fault holds the region or its warden: nobody would answer."""
        for target in (region, f"{region}/{WARDEN}"):
            if (fault := self._holding(target)) is not None:
                raise RpcError(
                    "not-possible",
                    f"{target} is under a {fault.value}, so nothing was changed; `atoll fault heal {region}` first",
                )

    def forget(self, region: str) -> None:
        """A region is gone, and with it all faults on it and on its links."""
        self._in_force = [
            fault
            for fault in self._in_force
            if region not in ((fault.target or "").partition("/")[0], fault.other)
        ]

    async def apply(self, request: FaultRequest) -> None:
        """Does what is asked for; returns when it is in force."""
        if request.kind is Fault.HEAL:
            await self._heal(request)
            return
        if request.target is None:
            raise RpcError("bad-request", f"{request.kind.value} needs a target; regions: {self._names()}")
        if request.kind in LINK_FAULTS:
            await self._set_links(request)
        elif request.kind is Fault.WITHOUT:
            await self._do_without({*self._missing(), request.target})
        else:
            await self._hit(request, request.target)
        self._in_force = [other for other in self._in_force if not _replaces(request, other)] + [request]

    async def reapply_links(self) -> None:
        """Puts the faults on links that have forgotten them."""
        for request in self._in_force:
            if request.kind in LINK_FAULTS:
                await self._set_links(request)

    async def _hit(self, request: FaultRequest, target: str) -> None:
        kind = request.kind
        region, _, process = target.partition("/")
        if target in (ENTRY, LINKS):
            _hit_process(self._run.entry if target == ENTRY else self._run.links, kind)
            return
        self._check_region(region)
        if (examples := _ONE_PROCESS.get(kind)) is not None and process in ("", WARDEN):
            named = ", ".join(f"{region}/{example}" for example in examples)
            raise RpcError("bad-request", f"{kind.value} is for one process: {named}")
        if kind is Fault.SKEW and request.skew_ms is None:
            raise RpcError("bad-request", "skew needs skew_ms")
        if kind is Fault.LIMP and request.share is None:
            raise RpcError("bad-request", "limp needs share")
        if (whole := self.on_region(region)) is not None:
            raise RpcError("not-possible", f"{region} is under a {whole.value} already; heal it first")
        match kind, process:
            case Fault.KILL, "":
                await self._run.kill(region)
            case Fault.FREEZE, "":
                self._run.freeze(region)
            case Fault.KILL, "warden":
                await self._run.kill_warden(region)
            case Fault.FREEZE, "warden":
                self._run.wardens[region].freeze()
            case _:
                await self._ask_warden(region, request.model_copy(update={"target": process}))

    async def _heal(self, request: FaultRequest) -> None:
        match request:
            case FaultRequest(target=None):
                for name in (LINKS, *self._run.wardens, ENTRY):
                    await self._heal_processes(name)
                await self._heal_links(None, None, one_way=False)
                self._in_force = [other for other in self._in_force if other.kind is Fault.WITHOUT]
                if self._in_force:  # a topology file that was broken meanwhile stops this, and nothing else
                    await self._do_without(())
                self._in_force = []
            case FaultRequest(target=str(a), other=str(b), one_way=one_way):
                await self._heal_links(a, b, one_way=one_way)
                ends = {a, b}
                self._in_force = [
                    other
                    for other in self._in_force
                    if other.kind not in LINK_FAULTS or {other.target, other.other} != ends
                ]
            case FaultRequest(target=str(target)) if target in MECHANISMS and target not in self._run.wardens:
                await self._do_without(self._missing() - {target})
                self._in_force = [
                    other for other in self._in_force if (other.kind, other.target) != (Fault.WITHOUT, target)
                ]
            case FaultRequest(target=str(target)):
                await self._heal_processes(target)
                region, _, process = target.partition("/")
                if not process and region != LINKS:
                    await self._heal_links(region, None, one_way=False)
                self._in_force = [other for other in self._in_force if not _is_healed(target, other)]

    async def _heal_processes(self, target: str) -> None:
        region, _, process = target.partition("/")
        if target in (ENTRY, LINKS):
            (self._run.entry if target == ENTRY else self._run.links).heal()
            return
        self._check_region(region)
        if process == WARDEN:
            self._run.wardens[region].heal()
        elif process:
            await self._ask_warden(region, FaultRequest(kind=Fault.HEAL, target=process))
        else:
            await self._run.heal(region)

    async def _set_links(self, request: FaultRequest) -> None:
        latency_ms = request.latency_ms if request.kind is Fault.SLOW else None
        rate = request.rate_bytes_per_s if request.kind is Fault.THROTTLE else None
        if request.kind is not Fault.CUT and latency_ms is None and rate is None:
            raise RpcError("bad-request", "slow needs latency_ms, throttle needs rate_bytes_per_s")
        try:
            await self._links.set(
                Selection(request.target, request.other, not request.one_way),
                latency_ms=latency_ms,
                rate_bytes_per_s=rate,
                cut=True if request.kind is Fault.CUT else None,
            )
        except RpcError as error:
            if error.kind not in LOST:
                raise
            raise RpcError(
                LINKS_UNAVAILABLE,
                "the links' process is down, so no link was changed; `atoll fault heal links` if a fault holds it, "
                "else try again once `atoll status` says that it runs",
            ) from error

    async def _heal_links(self, a: str | None, b: str | None, *, one_way: bool) -> None:
        try:
            await self._links.heal(Selection(a, b, not one_way))
        except RpcError as error:
            if error.kind not in LOST:  # links that are only coming up have no faults
                raise

    def _missing(self) -> set[str]:
        """The mechanisms that gateways do without."""
        return {
            request.target
            for request in self._in_force
            if request.kind is Fault.WITHOUT and request.target is not None
        }

    async def _do_without(self, mechanisms: Collection[str]) -> None:
        if unknown := sorted(set(mechanisms) - MECHANISMS.keys()):
            raise RpcError(
                "bad-request", f"there is no mechanism {unknown[0]!r}; there are {', '.join(MECHANISMS)}"
            )
        await do_without(self._run, mechanisms, self._clock)

    async def _ask_warden(self, region: str, request: FaultRequest) -> None:
        self.refuse_held(region)
        await self._run.ask(region, "fault", request.model_dump(mode="json"), lambda _: None)

    def _holding(self, target: str) -> Fault | None:
        """The fault that holds a region, a process of it, the entry or the links."""
        kinds = [
            request.kind
            for request in self._in_force
            if request.target == target and request.kind not in LINK_FAULTS
        ]
        return kinds[-1] if kinds else None

    def _check_region(self, name: str) -> None:
        if name not in self._run.wardens:
            raise RpcError("no-such-region", f"there is no region {name!r}; there are {self._names()}")

    def _names(self) -> str:
        return ", ".join(self._run.wardens)


def _hit_process(process: ManagedProcess, kind: Fault) -> None:
    match kind:
        case Fault.KILL:
            process.kill()
        case Fault.FREEZE:
            process.freeze()
        case Fault.FILL:
            process.fill()
        case _:
            raise RpcError("bad-request", f"{kind.value} is for stores, and {process.name} is none")


def _replaces(new: FaultRequest, old: FaultRequest) -> bool:
    """Whether a fault takes the place of an earlier one. A killed region has no processes left to be at fault."""
    same = (new.target, new.other, new.one_way) == (old.target, old.other, old.one_way)
    if new.kind in LINK_FAULTS or old.kind in LINK_FAULTS:
        return same and new.kind is old.kind
    return same or (old.target or "").startswith(f"{new.target}/")


def _is_healed(target: str, fault: FaultRequest) -> bool:
    if fault.kind in LINK_FAULTS:
        return target in (fault.target, fault.other)
    return fault.target == target or (fault.target or "").startswith(f"{target}/")


def _status(request: FaultRequest) -> FaultStatus:
    target = request.target or ""
    if request.kind in LINK_FAULTS:
        target = f"{target} {'->' if request.one_way else '-'} {request.other or '*'}"
    match request.kind:
        case Fault.SLOW:
            detail = f"latency {request.latency_ms:g} ms one way"
        case Fault.THROTTLE:
            detail = f"{request.rate_bytes_per_s:g} bytes a second each way"
        case Fault.SKEW:
            detail = f"its clock is off by {request.skew_ms:+d} ms"
        case Fault.LIMP:
            detail = f"{request.share:.0%} of the time"
        case _:
            detail = ""
    return FaultStatus(request.kind.value, target, detail)
