"""What runs inside ``ray start``, by its ``RAY_START_HOOK``. Ray imports it by name: keep it free of other
imports.
"""

import os
from pathlib import Path
from typing import Protocol

GCS_PASSWORD_VARIABLE = "ATOLL_GCS_PASSWORD_FILE"  # noqa: S105  the name of a variable, which names a file
"""The environment variable with the path of the password of the store that the GCS keeps its tables in."""


class RayParams(Protocol):
    """The fields of Ray's own start parameters that are touched here."""

    ray_client_server_port: int | None
    redis_password: str | None


def as_atoll_wants(parameters: RayParams, head: bool) -> None:
    """Leaves out the Ray Client server: about 47 MiB and a listener a region, and Atoll speaks REST only. And reads the
    password of the GCS's store from its file: ``ray start`` knows it on its command line alone.

    The command line can't leave the server out: it replaces a missing ``--ray-client-server-port`` by 10001 (Ray 2.60).
    """
    parameters.ray_client_server_port = None
    if head and (file := os.environ.get(GCS_PASSWORD_VARIABLE)):
        parameters.redis_password = Path(file).read_text(encoding="ascii").strip()
