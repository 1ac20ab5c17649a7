"""`python -m tests.integration.warden_without_ray --config FILE`: a warden whose region is whole but for Ray.

Its services are of the kind `origin`.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from unittest import mock

from atoll.cell import cell, warden
from atoll.serve.deploy import Deployed


class NoRay:
    """Up at once, until it is stopped."""

    def __init__(
        self, settings: object, clock: object, chance: object, on_up: Callable[[], Awaitable[None]], _: object
    ) -> None:
        self._on_up = on_up
        self.up = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return self.up.is_set()

    async def wait_up(self) -> None:
        await self.up.wait()

    async def run(self) -> None:
        self.up.set()
        await self._on_up()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.up.clear()

    def heal(self) -> None:
        pass

    def signal_worker(self, *_: object) -> bool:
        return False

    def statuses(self, *, memory: bool = True) -> tuple[()]:
        return ()


class NoServe:
    def __init__(self, *_: object) -> None:
        pass

    async def close(self) -> None:
        pass

    async def deploy(self, *_: object) -> Deployed:
        return Deployed(changed=False, elapsed_s=0.0)

    async def restore(self, *_: object) -> Deployed:
        return Deployed(changed=False, elapsed_s=0.0)

    async def replicas(self, _: str) -> tuple[()]:
        return ()

    async def raise_to(self, *_: object) -> bool:
        return False

    async def remove(self) -> None:
        pass


if __name__ == "__main__":
    with mock.patch.multiple(cell, RayUnit=NoRay, ServeSet=NoServe):
        sys.exit(warden.main())
