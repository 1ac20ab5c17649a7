"""Who is measured. Each file starts one: ``start(bench, upstream)`` gives where it listens and its process."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from loadtests.bench.peers import atoll, envoy, fastapi_httpx, haproxy
from loadtests.bench.workbench import Running, Workbench

Start = Callable[[Workbench, int], Running]

SUBJECTS: Mapping[str, Start] = MappingProxyType(
    {
        "forwarding": atoll.forwarding,
        "gateway": atoll.gateway,
        "envoy": envoy.start,
        "envoy-logging": envoy.logging,
        "haproxy": haproxy.start,
        "fastapi-httpx": fastapi_httpx.start,
    }
)
"""Proxies before one upstream, by the name that they have in reports."""
