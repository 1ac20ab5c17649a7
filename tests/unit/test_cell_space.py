"""A run that has no room is refused before anything is started."""

from pathlib import Path

import pytest

from atoll.cell.space_check import NEEDED_BYTES, NoSpaceError, check_space


def test_room_enough(tmp_path: Path) -> None:
    check_space(tmp_path, 3, lambda _: 3 * NEEDED_BYTES)


def test_too_little_says_where_how_much_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match=rf"{tmp_path} has 7 MiB .* 3 regions need 300 MiB; .*--regions"):
        check_space(tmp_path, 3, lambda folder: 7 << 20 if folder == tmp_path else 1 << 40)


def test_the_real_disk_is_asked(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError):
        check_space(tmp_path, 10**9)
