"""The `atoll` command."""

from atoll.cli.program import main

__all__ = ["main"]
