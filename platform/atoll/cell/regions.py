"""Adds regions to a run and removes regions from it, while traffic runs: makes what runs what the topology says.

Added: links first, then the region itself and the agents of the others; traffic comes when it is up and has the state.
Removed: traffic goes first, then the region's services, then the others take over what it has written, and its part in
strong registers; its agent and stores end when nobody needs them.

Every step may be repeated. One that fails leaves the regions of the run serving; asked again, what is left is done. A
supervisor that dies takes the run along, and the next one starts what the topology says by then.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from pydantic import ValidationError

from atoll.agent.moves import MOVES_REPORT, MovesReport
from atoll.cell.drain import drain, undrain
from atoll.cell.faults import LINKS_UNAVAILABLE, Faults
from atoll.cell.links.control import LinksClient
from atoll.cell.paths import PathTooLong
from atoll.cell.ports import ENTRY, PortsError, plan_ports
from atoll.cell.prepare import Wish, check_kept, extend, rewire_wardens, shrink, write_wiring
from atoll.cell.rollouts import Rollouts
from atoll.cell.run import LOST, Run
from atoll.cell.space_check import NoSpaceError
from atoll.clock import Clock
from atoll.rpc import Client, RpcError
from atoll.secrets import SecretError
from atoll.topology import SuccessionError, Topology, TopologyError, check_regions, check_succession, load

DRAIN_S = 60.0
"""How long a region that is removed may take for the requests that it holds."""

STATE_S = 120.0
"""How long a new region may take for the state, and others for what is handed over to them."""

TAKE_UP_S = 15.0
"""Gateways look four times a second; on a busy machine they are late."""

POLL_S = 0.2

REFUSED = (TopologyError, SuccessionError, PortsError, PathTooLong)
CANT = (SecretError, NoSpaceError, OSError)


class Regions:
    """Changes to the set of regions that run; one at a time, which is the caller's to see to."""

    def __init__(self, run: Run, faults: Faults, rollouts: Rollouts, clock: Clock) -> None:
        self._run = run
        self._faults = faults
        self._rollouts = rollouts
        self._clock = clock
        self._links = LinksClient(run.paths.links_socket)
        self._revision = run.plan.topology.revision
        """The latest that anybody was told of."""
        self._drained: set[str] = set()
        """Regions that are being removed."""
        self._left: set[str] = set()
        """Of these, those whose services have ended: they can't come back as they were."""

    def refuse_changed(self) -> None:
        """Raises `RpcError` if the file has other regions than those that run. Says nothing of other mistakes in it."""
        try:
            found = load(self._run.plan.wish.topology_file, regions=self._run.plan.wish.regions)
        except TopologyError:
            return
        if changed := sorted(found.regions.keys() ^ self._run.wardens.keys()):
            raise RpcError(
                "not-possible",
                f"{self._run.plan.wish.topology_file}: regions were added or removed ({', '.join(changed)}), and "
                "nothing was changed; `atoll up` starts and ends them, then deploy",
            )

    async def apply(self, regions: int | None) -> str:
        """Has the regions of the topology run, its first `regions` alone (None: all), and no others; what was changed,
        in words, empty if nothing. Raises `RpcError`.
        """
        run = self._run
        wish = replace(run.plan.wish, regions=regions)
        try:
            whole = load(wish.topology_file)
            wanted = load(wish.topology_file, regions=regions)
            joining = [name for name in wanted.regions if name not in run.plan.topology.regions]
            leaving = [name for name in run.plan.regions if name not in wanted.regions]
            back = sorted(self._drained & wanted.regions.keys())
            if not joining and not leaving and not back:
                return ""
            self._check(wish, whole, wanted, leaving)
        except REFUSED as error:
            raise RpcError("bad-request", str(error)) from error
        await self._rollouts.all_there(run.plan.topology.regions)
        try:
            if back:
                await self._take_back(wish, wanted, back)
                return f"not removed: {', '.join(back)}"
            if joining:
                await self._join(wish, wanted, joining)
            else:
                await self._leave(wish, wanted, leaving)
        except REFUSED as error:
            raise RpcError("bad-request", str(error)) from error
        except CANT as error:
            raise RpcError("not-possible", str(error)) from error
        return f"{'added' if joining else 'removed'}: {', '.join(joining or leaving)}"

    def _check(self, wish: Wish, whole: Topology, wanted: Topology, leaving: Collection[str]) -> None:
        """Raises `SuccessionError`, `TopologyError`."""
        run = self._run
        if limited := [name for name in leaving if name in whole.regions]:
            raise SuccessionError(
                f"{', '.join(limited)} runs here and is in the file; --regions ends no region. Leave it out to keep "
                "all, take the region out of the file to remove it, or end everything with `atoll down`"
            )
        if back := sorted(self._left & wanted.regions.keys()):
            raise SuccessionError(
                f"{', '.join(back)} is being removed, and its services have ended already; let `atoll up` finish that "
                "without it in the file, then add it again"
            )
        if self._drained & wanted.regions.keys() and wanted.regions.keys() != run.plan.regions.keys():
            raise SuccessionError(
                f"removing {', '.join(sorted(self._drained))} has begun; complete it, or take it back alone, with "
                "the regions in the file that it had"
            )
        if wanted.revision < self._revision:
            raise SuccessionError(
                f"revision {wanted.revision} is older than {self._revision}, of which agents know; count it up"
            )
        check_succession(run.plan.topology, wanted, wanted.regions)
        check_regions(replace(run.plan.topology, regions=run.plan.regions), wanted)
        check_kept(wish.topology_file, run.paths, wanted)

    # --- A region comes

    async def _join(self, wish: Wish, wanted: Topology, joining: Collection[str]) -> None:
        run, board = self._run, self._run.board
        run.plan = extend(run.paths, run.plan, wish, wanted)
        await self._relink()
        with board.step("agents know of it"):
            await self._rewire(wanted, run.plan.topology.regions)
        for region in joining:
            run.add(region)
        failures = await asyncio.gather(*(run.await_region(region, board.post) for region in joining))
        if any(failures):
            raise RpcError(
                "deploy-failed",
                "\n".join(filter(None, failures))
                + "\nIt has no traffic. Mend it and repeat `atoll up`, or take it "
                "out of the file again and do the same",
            )

        async def missing() -> str:
            reports = await self._moves(joining)
            return "; ".join(
                f"{name} lacks a part of the state" for name in joining if not _complete(reports, name)
            )

        await self._until("state", missing, STATE_S)
        await self._route(wanted, wanted.regions)
        run.plan = replace(run.plan, topology=wanted)
        if failure := await run.await_meeting():
            raise RpcError("not-possible", failure)

    # --- A region goes

    async def _leave(self, wish: Wish, wanted: Topology, leaving: Collection[str]) -> None:
        run = self._run
        staying = tuple(wanted.regions)
        for region in leaving:
            self._faults.refuse_held(region)
        served = run.plan.topology.regions.keys() | self._left
        had_traffic = [name for name in leaving if name in served and name in run.wardens]
        self._drained.update(leaving)
        for region in leaving:
            await drain(run, region, DRAIN_S, self._clock, run.board.post)
        run.plan = replace(run.plan, wish=wish)
        await self._route(wanted, staying)
        run.plan = replace(run.plan, topology=wanted)
        if had_traffic:
            await self._hand_over(wanted, had_traffic)
        run.plan = rewire_wardens(run.paths, run.plan, staying, staying)
        await self._rewire(wanted, staying)
        for region in leaving:
            await run.remove(region)
            self._faults.forget(region)
        self._drained.clear()
        self._left.clear()
        run.plan = shrink(run.paths, run.plan, wanted)
        await self._relink()

    async def _take_back(self, wish: Wish, wanted: Topology, regions: Collection[str]) -> None:
        """Puts regions into traffic again whose removal had only begun."""
        run = self._run
        run.plan = replace(run.plan, wish=wish)
        await self._route(wanted, wanted.regions)
        run.plan = replace(run.plan, topology=wanted)
        for region in regions:
            await undrain(run, region, self._clock)
        self._drained.clear()

    async def _hand_over(self, wanted: Topology, leaving: Collection[str]) -> None:
        """Returns when nobody needs the leaving regions any more."""
        run = self._run
        staying = tuple(wanted.regions)
        for region in leaving:
            self._left.add(region)
            await run.ask(region, "leave", {}, run.board.post)

        async def untaken() -> str:
            reports = await self._moves((*staying, *leaving))
            lacking = [
                f"{name} lacks writes of {gone}"
                for gone in leaving
                for name in staying
                if not _has_all(reports, name, gone)
            ]
            return "; ".join(lacking)

        await self._until("state is handed over", untaken, STATE_S)
        # The links to them stay, so that their acceptors can take part until they are replaced.
        run.plan = rewire_wardens(run.paths, run.plan, staying, (*staying, *leaving))
        await self._rewire(wanted, staying)

        async def named() -> str:
            reports = await self._moves(staying)
            return "; ".join(filter(None, (_still_needs(reports, name, wanted, leaving) for name in staying)))

        await self._until("acceptors move", named, STATE_S)

    # --- What both are made of

    async def _relink(self) -> None:
        """Has the links follow their file."""
        with self._run.board.step("links"):
            try:
                await self._links.reload()
            except RpcError as error:
                if error.kind not in LOST:
                    raise
                raise RpcError(
                    LINKS_UNAVAILABLE, "the links' process is down; once it runs, repeat `atoll up`"
                ) from error

    async def _rewire(self, wanted: Topology, regions: Collection[str]) -> None:
        """Has wardens take up their configuration, and with it agents and replicas the topology."""
        self._revision = wanted.revision
        for region in regions:
            await self._run.ask(region, "rewire", {}, self._run.board.post)

    async def _route(self, wanted: Topology, regions: Collection[str]) -> None:
        """Has the gateways of these regions, and the entry, go by a topology."""
        run = self._run
        ports = plan_ports(wanted, run.plan.wish.port_base, run.plan.ports)
        write_wiring(wanted, run.plan.wish, ports, run.paths, (ENTRY, *regions))

        async def behind() -> str:
            for admin in ports.admins:
                view = await run.views.view(admin)
                # One that doesn't answer takes it up when it starts.
                if view is not None and view.regions.keys() != wanted.regions.keys():
                    why = f": {view.topology.error}" if view.topology.error else ""
                    return f"{view.gateway} has not taken it up{why}"
            return ""

        await self._until("gateways know of it", behind, TAKE_UP_S)

    async def _moves(self, regions: Collection[str]) -> dict[str, MovesReport]:
        """What the agents of these regions say; nothing of one that doesn't answer."""
        reports = await asyncio.gather(*(self._ask_agent(region) for region in regions))
        return {report.region: report for report in reports if report is not None}

    async def _ask_agent(self, region: str) -> MovesReport | None:
        with contextlib.suppress(RpcError, ValidationError, TimeoutError):
            async with asyncio.timeout(2.0):
                answer = await Client(self._run.paths.region(region).agent_socket).call("moves")
                return MOVES_REPORT.validate_python(answer)
        return None

    async def _until(self, step: str, missing: Callable[[], Awaitable[str]], patience_s: float) -> None:
        """Returns when nothing is missing. Raises `RpcError` that says what still is after `patience_s`."""
        board = self._run.board
        why = ""
        with board.step(step):
            try:
                async with asyncio.timeout(patience_s):
                    while why := await missing():
                        board.note(step, why)
                        await asyncio.sleep(POLL_S)
            except TimeoutError as error:
                raise RpcError(
                    "not-possible",
                    f"after {patience_s:.0f} s, {why}; see `atoll status`, then repeat `atoll up`",
                ) from error


def _complete(reports: dict[str, MovesReport], region: str) -> bool:
    return region in reports and reports[region].complete


def _has_all(reports: dict[str, MovesReport], region: str, of: str) -> bool:
    return region in reports and of in reports and reports[region].has_all_of(reports[of])


def _still_needs(
    reports: dict[str, MovesReport], region: str, wanted: Topology, leaving: Collection[str]
) -> str:
    """Why a region still needs those that leave, in words; empty if it doesn't."""
    report = reports.get(region)
    if report is None:
        return f"{region}'s agent does not answer"
    if set(report.members) != set(wanted.regions):
        return f"{region} has not taken the topology up"
    for namespace, acceptors in report.acceptors.items():
        if acceptors is None:
            return f"{region} does not know the acceptors of {namespace}"
        if named := set(acceptors) & set(leaving):
            return f"{', '.join(sorted(named))} is an acceptor of {namespace}"
    return ""
