"""Has the gateways of a run go by a changed copy of its topology, and puts the topology itself back."""

import asyncio
import tomllib
from collections.abc import Collection
from dataclasses import replace

from atoll.cell.mechanisms import without
from atoll.cell.ports import ENTRY
from atoll.cell.prepare import write_wiring
from atoll.cell.run import Run
from atoll.clock import Clock
from atoll.rpc import RpcError
from atoll.topology import TopologyError, load, read
from atoll.topology.wiring import write_private

TAKE_UP_S = 10.0
"""Gateways look four times a second; on a busy machine they are late."""
POLL_S = 0.1


async def do_without(run: Run, mechanisms: Collection[str], clock: Clock) -> None:
    """Returns when every gateway that answers goes by the topology without these mechanisms; none of them: by the
    topology as it is. Raises `RpcError`.
    """
    wish = run.plan.wish
    try:
        if mechanisms:
            text = without(tomllib.loads(read(wish.topology_file)), sorted(mechanisms))
            write_private(run.paths.rehearsed_topology, text.encode())
            wish = replace(wish, topology_file=run.paths.rehearsed_topology)
        wanted = load(wish.topology_file, regions=wish.regions)
        write_wiring(run.plan.topology, wish, run.plan.ports, run.paths, (ENTRY, *run.plan.topology.regions))
    except (TopologyError, tomllib.TOMLDecodeError) as error:
        raise RpcError("bad-request", str(error)) from error
    except OSError as error:
        raise RpcError("not-possible", f"{run.paths.root} can't be written: {error.strerror}") from error
    began = clock.monotonic()
    while behind := await _behind(run, wanted.digest):
        if clock.monotonic() - began > TAKE_UP_S:
            raise RpcError("not-possible", f"{behind} has not taken the topology up after {TAKE_UP_S:.0f} s")
        await asyncio.sleep(POLL_S)


async def _behind(run: Run, digest: str) -> str:
    """A gateway that goes by another topology, and why; empty if there is none. One that doesn't answer takes it up
    when it starts.
    """
    views = await asyncio.gather(*(run.views.view(admin) for admin in run.plan.ports.admins))
    for view in views:
        if view is not None and view.topology.digest != digest:
            return view.gateway + (f" ({view.topology.error})" if view.topology.error else "")
    return ""
