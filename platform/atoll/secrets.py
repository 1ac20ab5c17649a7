"""Secrets in files: read only if their owner alone can, never on a command line or in a log."""

from pathlib import Path


class SecretError(Exception):
    """A secret's file that can't be used; names the file, never its content."""


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
