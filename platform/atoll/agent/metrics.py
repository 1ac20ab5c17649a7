"""The Prometheus metrics of a region's state, made from its agent's figures. Names and labels are a contract."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from atoll.cell.state_report import StateReport
from atoll.tls import TlsStatistics


def exposition(region: str, report: StateReport | None, certificate: TlsStatistics | None = None) -> bytes:
    """Prometheus's text format; `report` is None if the agent, or the state store, does not answer."""
    registry = CollectorRegistry()
    registry.register(_Once(lambda: _families(region, report, certificate)))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()


def _families(region: str, report: StateReport | None, certificate: TlsStatistics | None) -> Iterator[Metric]:
    def gauge(name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"atoll_state_{name}", text, labels=("region",))
        family.add_metric((region,), value)
        return family

    def counter(name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"atoll_state_{name}", text, labels=("region",))
        family.add_metric((region,), value)
        return family

    yield gauge("up", "1 if the region's agent and its state store answer.", float(report is not None))
    if certificate is not None:
        yield gauge(
            "certificate_expires_timestamp_seconds",
            "When the certificate ends that the agent shows other cells; absent without TLS.",
            certificate.expires,
        )
    if report is None:
        return
    yield from _peers(region, report)
    conflicts = CounterMetricFamily(
        "atoll_state_conflicts",
        "Concurrent writes of one cell, merged here since the store was first opened.",
        labels=("region", "namespace"),
    )
    for namespace, count in report.conflicts.items():
        conflicts.add_metric((region, namespace), count)
    yield conflicts
    resyncs = CounterMetricFamily(
        "atoll_state_resyncs", "Transfers from a peer that ended well.", labels=("region", "reason")
    )
    for reason, count in report.resyncs.items():
        resyncs.add_metric((region, reason), count)
    yield resyncs
    strong = report.strong
    yield counter("resyncs_failed", "Transfers that broke off and were begun anew.", report.resyncs_failed)
    yield counter(
        "digest_mismatches", "Comparisons with a peer that found a difference.", report.digest_mismatches
    )
    yield gauge("complete", "1 if the store has all that it should have.", float(report.complete))
    yield gauge("log_entries", "Operations in the region's own log.", report.log_entries)
    yield gauge("log_bytes", "Memory of the region's own log.", report.log_bytes)
    yield gauge("tombstones", "Tombstones not collected yet.", report.tombstones)
    yield gauge(
        "clock_offset_seconds",
        "What the other regions' clocks certainly show more than this one's, in the median.",
        report.clock_offset_s,
    )
    yield gauge(
        "writes_refused",
        "1 while writes are refused since the clock is off.",
        float(bool(report.writes_refused)),
    )
    yield counter(
        "skewed_operations",
        "Operations put off since their stamps were too far ahead of this region's clock.",
        report.skewed,
    )
    yield counter(
        "session_waits", "Reads that waited for what their session had seen elsewhere.", report.session_waits
    )
    yield counter("session_waits_behind", "Of those, how many ended without it.", report.session_waits_behind)
    yield counter("session_waited_seconds", "How long they waited, together.", report.session_waited_s)
    yield counter("strong_changes", "Strong changes with an outcome.", strong.changes)
    yield counter("strong_reads", "Strong reads.", strong.reads)
    yield counter("strong_commits", "Attempts of strong operations that succeeded.", strong.commits)
    yield counter("strong_warm_commits", "Of those, in one round trip.", strong.warm_commits)
    yield counter(
        "strong_ballots", "Attempts of strong operations; by commits: the ballots a commit.", strong.ballots
    )
    yield counter("strong_no_majority", "Attempts that ended without a majority.", strong.no_majority)


def _peers(region: str, report: StateReport) -> Iterator[Metric]:
    labels = ("region", "origin")
    connected = GaugeMetricFamily(
        "atoll_state_peer_connected", "1 if the origin's log is being streamed here.", labels=labels
    )
    staleness = GaugeMetricFamily(
        "atoll_state_staleness_seconds",
        "What the origin acknowledged and is missing here is not older than this; NaN: nothing is known.",
        labels=labels,
    )
    behind = GaugeMetricFamily(
        "atoll_state_behind_operations",
        "Operations of the origin that somebody is known to have and that are missing here.",
        labels=labels,
    )
    lag = GaugeMetricFamily(
        "atoll_state_lag_seconds",
        "Quantiles of the delay from the origin's heartbeat to its being applied here.",
        labels=(*labels, "quantile"),
    )
    for origin, peer in report.peers.items():
        connected.add_metric((region, origin), float(peer.connected))
        behind.add_metric((region, origin), peer.behind)
        staleness.add_metric((region, origin), float("nan") if peer.staleness_s is None else peer.staleness_s)
        for quantile, value in (("0.5", peer.p50_s), ("0.99", peer.p99_s)):
            if value is not None:
                lag.add_metric((region, origin, quantile), value)
    yield from (connected, staleness, behind, lag)
