"""The topology that a command is given."""

from pathlib import Path

from atoll.cli.exits import CommandError, Exit
from atoll.topology import Topology, TopologyError, load

DEFAULT = Path("infra/topologies/local.toml")
"""Relative to the folder in which `atoll` is started."""


def read(path: Path, regions: int | None = None) -> Topology:
    """Reads, checks, and keeps the first `regions`. Raises `CommandError` with every problem found."""
    if path == DEFAULT and not path.exists():
        raise CommandError(
            f"there is no {DEFAULT} in {Path.cwd()}: start in the folder of the checkout, or name one with --topology",
            Exit.USAGE,
        )
    try:
        whole = load(path)
        if regions is not None and regions > len(whole.regions):
            raise CommandError(f"--regions {regions}: {path} has {len(whole.regions)} regions", Exit.USAGE)
        return load(path, regions=regions)
    except TopologyError as error:
        raise CommandError(str(error), Exit.USAGE) from error
