"""Whether the ports of a plan are free, and who holds the one that isn't."""

import contextlib
import socket
from pathlib import Path

from atoll.cell.ports import Listener, PortPlan, PortsError, plan_ports
from atoll.topology import Topology
from atoll.topology.wiring import Address

_LISTENING = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h
_OTHER_BASES = range(12000, 28000, 4000)


def check_free(plan: PortPlan, topology: Topology, besides: PortPlan | None = None) -> None:
    """Tries every listener's address, `besides` those of a plan that runs. Raises `PortsError` for the first that is
    taken: it names the port, what it is for, who holds it as far as this user may know, and another base at which
    everything is free now.
    """
    taken = first_taken(plan, topology, besides)
    if taken is None:
        return
    holder = holder_of(taken.address.port) or "another program (of another user, so its name can't be read)"
    other = next((base for base in _OTHER_BASES if _all_free(topology, base)), None)
    way_out = f"ATOLL_PORT_BASE={other if other is not None else '<port>'}"
    raise PortsError(
        f"port {taken.address.port}, meant for {taken.purpose}, is held by {holder}; "
        f"end that program, or choose other ports: {way_out}"
    )


def first_taken(plan: PortPlan, topology: Topology, besides: PortPlan | None = None) -> Listener | None:
    """The first listener of the plan whose address can't be bound now; those of `besides` are not tried."""
    theirs = set[Address]() if besides is None else {one.address for one in besides.listeners(topology)}
    tried = (listener for listener in plan.listeners(topology) if listener.address not in theirs)
    return next((listener for listener in tried if not _is_free(listener)), None)


def holder_of(port: int) -> str | None:
    """The program that listens on a TCP port: its name and process number, or None if that can't be found out."""
    inodes = set[str]()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").iterdir():
        if inodes and folder.name.isdigit() and _has_open(folder, inodes):
            with contextlib.suppress(OSError):
                return f"{(folder / 'comm').read_text().strip()} (process {folder.name})"
    return None


def _has_open(process: Path, inodes: set[str]) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()) in inodes:
                    return True
    return False


def _all_free(topology: Topology, base: int) -> bool:
    try:
        return first_taken(plan_ports(topology, base), topology) is None
    except PortsError:
        return False


def _is_free(listener: Listener) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of an earlier run that linger in TIME_WAIT don't count, listeners do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.address.host, listener.address.port))
        except OSError:
            return False
        return True
