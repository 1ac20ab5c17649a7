"""A test run that is told to end ends what its fixtures started."""

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TEST = """
import time
from pathlib import Path
import pytest

@pytest.fixture
def started():
    yield
    Path("ended").touch()

def test_something_long(started):
    Path("begun").touch()
    time.sleep(60)
"""


async def told_to_end(folder: Path, *options: str) -> bool:
    """Whether the fixture of a run came to its end."""
    (folder / "test_long.py").write_text(TEST)
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_long.py"),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        while not (folder / "begun").exists():
            await asyncio.sleep(0.05)
        run.terminate()
        await run.wait()
    return (folder / "ended").exists()


async def test_sigterm_lets_fixtures_end_what_they_started(tmp_path: Path) -> None:
    for name in ("as it is", "control"):
        (tmp_path / name).mkdir()
    assert await told_to_end(tmp_path / "as it is", "-p", "tests.conftest")
    assert not await told_to_end(tmp_path / "control"), "control: Python's own way leaves them"
