"""The secrets of a run: random, in files that their owner alone can read."""

import os
import secrets
from pathlib import Path

from atoll.secrets import read_secret

TOKEN_BYTES = 32


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
