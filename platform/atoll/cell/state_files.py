"""The file that a region's replicas find their state by. It also says under which namespaces the region's data was
written, in this run and in earlier ones.
"""

from collections.abc import Mapping

from atoll.cell.paths import RegionPaths, RunPaths
from atoll.cell.wiring import WardenConfig, state_wiring
from atoll.state.wiring import NamespaceWiring, read_state_wiring, write_state_wiring
from atoll.topology import Topology, check_namespaces
from atoll.topology.wiring import WiringError


def take_up(config: WardenConfig, topology: Topology) -> None:
    """Tells the replicas of the warden's region of a topology's namespaces.

    Raises `SuccessionError`, and changes nothing, if the region's data was written under namespaces of another level;
    `OSError` if the file can't be written.
    """
    paths = RunPaths(config.root).region(config.region)
    check_namespaces(kept_namespaces(paths), topology.namespaces)
    write_state_wiring(paths.state_wiring, state_wiring(config, topology))


def kept_namespaces(paths: RegionPaths) -> Mapping[str, NamespaceWiring]:
    """What was taken up last, in this run or an earlier one; nothing if there is no such file, or none of this form."""
    try:
        return read_state_wiring(paths.state_wiring).namespaces
    except WiringError:
        return {}
