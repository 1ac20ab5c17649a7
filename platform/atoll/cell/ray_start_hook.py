"""What runs inside ``ray start``, by its ``RAY_START_HOOK``. Ray imports it by name: keep it free of other
imports.
"""

from typing import Protocol


class RayParams(Protocol):
    """The one field of Ray's own start parameters that is touched here."""

    ray_client_server_port: int | None


def without_ray_client(parameters: RayParams, head: bool) -> None:
    """Leaves out the Ray Client server: about 47 MiB and a listener a region, and Atoll speaks REST only.

    The command line can't say so: it replaces a missing ``--ray-client-server-port`` by 10001 (Ray 2.60).
    """
    parameters.ray_client_server_port = None
