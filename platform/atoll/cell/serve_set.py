"""The region's Serve application set, with one writer: this."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from atoll.clock import Clock
from atoll.secrets import read_secret
from atoll.serve.applications import ServeSettings, application_set
from atoll.serve.client import ServeClient
from atoll.serve.code import code_versions
from atoll.serve.deploy import Deployed, Deployer, DeployProgress
from atoll.serve.document import ApplicationSet
from atoll.serve.status import Replica
from atoll.serve.store import SetStore
from atoll.topology import Topology
from atoll.topology.wiring import Address

Heard: TypeAlias = Callable[[DeployProgress], None]


class ServeSet:
    """Deploys to one region's Serve; one change at a time, whoever asks."""

    def __init__(
        self,
        region: str,
        dashboard: Address,
        token_file: Path,
        store: SetStore,
        settings: ServeSettings,
        clock: Clock,
    ) -> None:
        """`settings` are completed by what the code on this machine is. Raises `SecretError` if Ray's token can't be
        read.
        """
        self._region = region
        self._settings = settings
        self._store = store
        self._client = ServeClient(dashboard.url, read_secret(token_file))
        self._deployer = Deployer(self._client, self._store, clock)
        self._changing = asyncio.Lock()

    async def close(self) -> None:
        await self._client.close()

    def wanted(self, topology: Topology) -> ApplicationSet:
        """What the topology and the code on this machine say. Raises `CodeNotFound`."""
        settings = replace(self._settings, code=code_versions(topology))
        return application_set(topology, self._region, settings)

    async def deploy(self, topology: Topology, heard: Heard) -> Deployed:
        """Raises as `Deployer.deploy`, and `CodeNotFound`."""
        async with self._changing:
            return await self._deployer.deploy(self.wanted(topology), heard)

    async def rollback(self, heard: Heard) -> Deployed:
        """Raises as `Deployer.rollback`."""
        async with self._changing:
            return await self._deployer.rollback(heard)

    async def restore(self, heard: Heard) -> Deployed | None:
        """Gives a new head what the one before ran: the last set that was good; None if there never was one."""
        async with self._changing:
            good = self._store.good()
            return None if good is None else await self._deployer.deploy(good, heard)

    async def replicas(self, service: str) -> tuple[Replica, ...]:
        """All that Serve lists of a service. Raises `ServeError`."""
        application = (await self._client.applications()).applications.get(service)
        deployments = {} if application is None else application.deployments
        return tuple(replica for deployment in deployments.values() for replica in deployment.replicas)

    async def raise_to(self, minimums: Mapping[str, int]) -> bool:
        """As `Deployer.raise_to`. Waits for a deployment that is under way."""
        async with self._changing:
            return await self._deployer.raise_to(minimums)

    async def remove(self) -> None:
        """Shuts Serve down after its replicas have drained. Raises `ServeError`."""
        await self._client.delete_all()
