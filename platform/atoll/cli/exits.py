"""How a command ends: its exit status, and the error that carries one."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses; scripts and drills rely on them."""

    SUCCESS = 0
    FAILED_VERDICT = 1
    USAGE = 2
    """Wrong usage, or a file that is refused."""
    FAILED = 3
    """The operation failed, or nothing is running."""
    INCONCLUSIVE = 4
    """Inconclusive or aborted."""
    INTERRUPTED = 130


class CommandError(Exception):
    """A foreseeable end of a command. The message says what happened, where, and what to do; it goes to stderr."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.status = status
