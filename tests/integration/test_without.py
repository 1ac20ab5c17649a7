"""Gateways are told to do without a mechanism, and with it again, while they run: everything is real but Ray."""

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.integration.plain import NO_AUTHORITIES
from tests.integration.test_regions_come_and_go import TWO, Deployment, deployment

from atoll.cell.client import OperationFailed
from atoll.topology import load

pytestmark = pytest.mark.timeout(200)


async def _digests(it: Deployment) -> set[str | None]:
    status = await it.operator.status(memory=False)
    return {gateway.topology_digest for region in status.regions.values() for gateway in region.gateways}


async def _answers(it: Deployment) -> list[str]:
    """Of a client in Ireland behind the entry."""
    entry = it.run.plan.ports.entry_public.url
    async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=20.0) as http:
        answers = [
            await http.get(f"{entry}/shop/x", headers={"X-Forwarded-For": "87.32.10.1"}) for _ in range(5)
        ]
    return [answer.text if answer.is_success else str(answer.status_code) for answer in answers]


async def test_without_failover_the_loss_of_a_region_is_felt_and_with_it_again_it_is_not(
    tmp_path: Path,
) -> None:
    async with deployment(tmp_path, TWO) as it:
        as_it_is = load(it.file).digest
        with pytest.raises(OperationFailed, match="no mechanism 'gravity'; there are failover"):
            await it.operator.without("gravity")
        await it.operator.without("failover")
        await it.operator.without("budget")
        assert await _answers(it) == ["eu-west"] * 5
        await it.operator.kill("eu-west")
        assert set(await _answers(it)) <= {"502", "503", "504"}
        status = await it.operator.status(memory=False)
        assert {(fault.kind, fault.target) for fault in status.faults} == {
            ("without", "failover"),
            ("without", "budget"),
            ("kill", "eu-west"),
        }
        await it.operator.heal("failover")
        assert await _answers(it) == ["us-east"] * 5, "the region is still down"
        await it.operator.heal()
        assert (await it.operator.status(memory=False)).faults == ()
        async with asyncio.timeout(60):
            while await _digests(it) != {as_it_is}:
                await asyncio.sleep(0.1)
        assert "failover" not in it.file.read_text(), "the file itself is left alone"
