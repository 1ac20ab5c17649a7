"""Takes a region out of traffic, and puts it back."""

import asyncio

from atoll.cell.gateway_view import GatewayView
from atoll.cell.progress import Progress, Report, StepState
from atoll.cell.run import Run
from atoll.clock import Clock
from atoll.rpc import RpcError
from atoll.topology.wiring import Address

POLL_S = 0.2
TAKE_UP_S = 5.0
"""Gateways look at the drain file four times a second; a gateway that runs has noticed by then."""


async def drain(run: Run, region: str, timeout_s: float, clock: Clock, report: Report) -> None:
    """Returns when all gateways know that the region drains, and its own hold no request; one that doesn't answer holds
    none that could be waited for. Raises `RpcError` (``not-drained``); the region then stays draining.
    """
    run.paths.region(region).drain.touch(mode=0o600)
    began = clock.monotonic()
    while True:
        held = await _held(run, region, draining=True)
        elapsed = clock.monotonic() - began
        if held == 0:
            report(Progress(region, "drain", StepState.DONE, elapsed))
            return
        words = "waiting for gateways to notice" if held is None else f"{held} requests in flight"
        if elapsed > timeout_s:
            report(Progress(region, "drain", StepState.FAILED, elapsed, words))
            raise RpcError("not-drained", f"{region} is not drained after {timeout_s:.0f} s: {words}")
        report(Progress(region, "drain", StepState.WAITING, elapsed, words))
        await asyncio.sleep(POLL_S)


async def undrain(run: Run, region: str, clock: Clock) -> None:
    """Returns when the region's gateways take clients again. Raises `RpcError` if they don't notice."""
    run.paths.region(region).drain.unlink(missing_ok=True)
    began = clock.monotonic()
    while await _held(run, region, draining=False) is None:
        if clock.monotonic() - began > TAKE_UP_S:
            raise RpcError("not-possible", f"{region}'s gateways still drain after {TAKE_UP_S:.0f} s")
        await asyncio.sleep(POLL_S)


async def _held(run: Run, region: str, *, draining: bool) -> int | None:
    """Requests that the region's gateways hold; None while a gateway anywhere has not noticed that it is to drain or
    not. One that doesn't answer, or holds the region for unhealthy, sends no requests there either.
    """
    ports = run.plan.ports
    own, others = await asyncio.gather(
        _views(run, [gateway.admin for gateway in ports.regions[region].gateways]),
        _views(
            run,
            [
                ports.entry_admin,
                *(
                    gateway.admin
                    for name, block in ports.regions.items()
                    if name != region
                    for gateway in block.gateways
                ),
            ],
        ),
    )
    if any(view.draining is not draining for view in own):
        return None
    seen = [view.regions[region] for view in others if region in view.regions] if own else []
    if any(sight.healthy and sight.draining is not draining for sight in seen):
        return None
    return sum(view.in_flight for view in own)


async def _views(run: Run, admins: list[Address]) -> list[GatewayView]:
    views = await asyncio.gather(*(run.views.view(admin) for admin in admins))
    return [view for view in views if view is not None]
