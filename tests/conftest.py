"""A test run that is told to end leaves nothing behind: SIGTERM ends it as Ctrl-C does, through every fixture."""

import signal
from types import FrameType

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair.
settings.register_profile("atoll", deadline=None)
settings.load_profile("atoll")

pytest_plugins = ["tests.integration.live.runs"]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def pytest_configure(config: pytest.Config) -> None:
    """Regions outlive the process that started them, so a run that just dies would leave three of them running."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell starts what runs in the background, and what tests start would be as deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
