"""The secrets of a run: random, in files that their owner alone can read, never on a command line or in a log."""

import os
import secrets
from pathlib import Path

TOKEN_BYTES = 32


class SecretError(Exception):
    """A secret's file that can't be used; names the file, never its content."""


def ensure_secret(path: Path) -> None:
    """Makes the secret if there is none; one that is there stays, so that a restart doesn't lock anybody out.

    Raises `SecretError` for a file that others can read or that is empty.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        read_secret(path)
        return
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(TOKEN_BYTES))
        file.flush()
        os.fsync(file.fileno())


def read_secret(path: Path) -> str:
    """The secret in a file. Raises `SecretError` if it is missing, empty, or readable by others."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"cannot read the secret in {path}: {error}") from error
    if mode & 0o077:
        raise SecretError(
            f"{path} can be read by others (mode {mode & 0o777:o}); delete it, a new one will be made"
        )
    if not text:
        raise SecretError(f"{path} is empty; delete it, a new one will be made")
    return text
