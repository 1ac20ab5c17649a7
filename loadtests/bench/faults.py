"""One replica, or all of one region, suddenly takes ten times as long: what do clients notice, beside Envoy's?

Both proxies stand before the same upstreams, one after the other, and are asked at the same fixed rate. Envoy has
retries, circuit breakers, outlier detection and a timeout of each try, the only one of them that sees slowness.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from atoll.topology.wiring import Address, PeerGateway
from loadtests.bench.openloop import Asked, ask, quantile, settled_s
from loadtests.bench.peers import atoll, envoy, slow
from loadtests.bench.workbench import Running, Workbench, free_port

RATE = 200.0
BEFORE_S = 5.0
AFTER_S = 10.0
NORMAL_MS = 10.0
SLOW_MS = 10 * NORMAL_MS
FAR_MS = NORMAL_MS + 20.0
"""What the other region takes: the link's round trip on top."""
SETTLED = 1.5
"""Times the p99 that is normal where requests go now: below it, clients are taken to be well again."""
TRY_TIMEOUT = "0.08s"
"""Envoy's ``per_try_timeout``: eight times the normal time of an answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One proxy through one fault; times in milliseconds but for the last."""

    scenario: str
    subject: str
    normal_p99_ms: float
    faulty_p99_ms: float
    """Of all requests after the fault began."""
    end_p99_ms: float
    """Of the last three seconds."""
    failed: int
    settled_s: float | None
    """Until p99 stays within 1.5 times what is normal where requests can go; None if it doesn't."""


def slow_replica(bench: Workbench, progress: Callable[[str], None]) -> list[Fault]:
    """Two replicas in one region; one of them slows down."""
    upstreams = [slow.start(bench, f"replica-{number}", NORMAL_MS) for number in (1, 2)]
    ports = [upstream.port for upstream in upstreams]
    topology = atoll.write_topology(bench, "slow-replica", {"eu-west": ports})
    subjects = [
        envoy.before(bench, "envoy-slow-replica", [ports], per_try_timeout=TRY_TIMEOUT),
        atoll.start(bench, "gateway-slow-replica", topology, "eu-west"),
    ]
    return [_through("slow-replica", subject, upstreams[:1], 0.0, progress) for subject in subjects]


def slow_region(bench: Workbench, progress: Callable[[str], None]) -> list[Fault]:
    """One replica here and one in another region, a link away; the one here slows down."""
    near = slow.start(bench, "near", NORMAL_MS)
    far = slow.start(bench, "far", FAR_MS)
    topology = atoll.write_topology(bench, "slow-region", {"eu-west": [near.port], "eu-central": [far.port]})
    peers = {"eu-west": free_port(), "eu-central": free_port()}

    def gateway(region: str, other: str) -> Running:
        peer = PeerGateway(other, f"{other}/gateway-1", Address("127.0.0.1", peers[other]))
        return atoll.start(bench, f"gateway-{region}", topology, region, (peer,), peers[region])

    gateway("eu-central", "eu-west")
    subjects = [
        envoy.before(bench, "envoy-slow-region", [[near.port], [far.port]], per_try_timeout=TRY_TIMEOUT),
        gateway("eu-west", "eu-central"),
    ]
    return [_through("slow-region", subject, [near], FAR_MS - NORMAL_MS, progress) for subject in subjects]


def _through(
    scenario: str,
    subject: Running,
    victims: Sequence[Running],
    further_ms: float,
    progress: Callable[[str], None],
) -> Fault:
    progress(f"{scenario}, {subject.name}")
    for victim in victims:
        _delay(victim, NORMAL_MS)
    asked = asyncio.run(_load(subject, victims))
    return judge(scenario, subject.name.partition("-")[0], asked, further_ms)


async def _load(subject: Running, victims: Sequence[Running]) -> list[Asked]:
    await ask(subject.port, RATE, 2.0)  # connections are opened, times are learned
    load = asyncio.ensure_future(ask(subject.port, RATE, BEFORE_S + AFTER_S))
    await asyncio.sleep(BEFORE_S)
    for victim in victims:
        await asyncio.to_thread(_delay, victim, SLOW_MS)
    return await load


def judge(scenario: str, subject: str, asked: Sequence[Asked], further_ms: float) -> Fault:
    """What clients noticed. `further_ms` is how much longer than before it takes where requests can still go."""
    normal = quantile(asked, 0.99, 0.0, BEFORE_S)
    return Fault(
        scenario=scenario,
        subject=subject,
        normal_p99_ms=normal * 1000.0,
        faulty_p99_ms=quantile(asked, 0.99, BEFORE_S) * 1000.0,
        end_p99_ms=quantile(asked, 0.99, BEFORE_S + AFTER_S - 3.0) * 1000.0,
        failed=sum(not one.ok for one in asked),
        settled_s=settled_s(asked, SETTLED * (normal + further_ms / 1000.0), BEFORE_S),
    )


def _delay(upstream: Running, milliseconds: float) -> None:
    with httpx.Client(trust_env=False) as client:
        client.post(f"http://127.0.0.1:{upstream.port}/-/delay/{milliseconds:.0f}").raise_for_status()


SCENARIOS: Mapping[str, Callable[[Workbench, Callable[[str], None]], list[Fault]]] = {
    "slow-replica": slow_replica,
    "slow-region": slow_region,
}
"""By the name that they have in reports."""
