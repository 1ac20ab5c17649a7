"""Whether there is room for a run on the disk: Ray fails on a full one after minutes, and says something else."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

NEEDED_BYTES = 100 * 1024**2
"""For each region: an idle hour takes about a tenth of it, and logs grow with what is asked."""


class NoSpaceError(Exception):
    """Too little room on the disk; says where, how much there is, and how much it takes."""


def check_space(root: Path, regions: int, free: Callable[[Path], int] | None = None) -> None:
    """Looks where a run writes: its own folder, and the system's temporary one. Raises `NoSpaceError`."""
    needed = regions * NEEDED_BYTES
    for folder in (root, Path(tempfile.gettempdir())):
        there = (free or _free)(folder)
        if there < needed:
            raise NoSpaceError(
                f"{folder} has {there >> 20} MiB of free disk, and {regions} regions need {needed >> 20} MiB; "
                "free some, or start fewer regions with --regions"
            )


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
