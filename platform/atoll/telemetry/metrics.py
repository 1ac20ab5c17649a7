"""The metrics of a gateway.

The hot path counts in plain integers of a recorder per service; Prometheus's types are made when somebody
asks. That is several times cheaper than the client library's locked values, and the gateway reads its own
figures without parsing. For one event loop; not for several threads.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From what the gateway adds by itself to the longest timeout that a service is likely to have."""

_CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
_OTHER = 5


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    ANSWERED = "answered"
    """With a response, whatever its status."""
    REFUSED = "refused"
    """The far side said that it did not execute it."""
    UNREACHABLE = "unreachable"
    """No connection; no byte left."""
    LOST = "lost"
    """The connection broke after bytes had left."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    """The client went away, or another attempt was faster."""


class ServiceRecorder:
    """What happens to the requests of one service in this process."""

    __slots__ = (
        "_attempts",
        "_bucket_counts",
        "_duration_sum_s",
        "_requests",
        "in_flight",
        "panics",
        "truncated",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests that were started and not finished."""
        self.truncated = 0
        """Responses cut off after their first bytes had gone to the client."""
        self.panics = 0
        """Requests for which no region was in a state to serve, so that all were tried."""
        self._requests: dict[str, list[int]] = {}
        self._attempts: dict[str, dict[AttemptOutcome, int]] = {}
        self._bucket_counts = [0] * (len(DURATION_BUCKETS_S) + 1)
        self._duration_sum_s = 0.0

    def started(self) -> None:
        """A request of this service has come in. Each is followed by one `finished`."""
        self.in_flight += 1

    def finished(self, region: str | None, status: int, duration_s: float) -> None:
        """A request has been answered with `status`, by `region` (None if no region produced the answer)."""
        self.in_flight -= 1
        counts = self._requests.get(region or "")
        if counts is None:
            counts = self._requests[region or ""] = [0] * len(_CODES)
        counts[status // 100 - 1 if 100 <= status < 600 else _OTHER] += 1
        self._bucket_counts[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
        self._duration_sum_s += duration_s

    def attempt(self, region: str, outcome: AttemptOutcome) -> None:
        """An attempt in `region` has ended."""
        outcomes = self._attempts.get(region)
        if outcomes is None:
            outcomes = self._attempts[region] = dict.fromkeys(AttemptOutcome, 0)
        outcomes[outcome] += 1

    def statistics(self) -> "ServiceStatistics":
        return ServiceStatistics(
            in_flight=self.in_flight,
            requests=sum(map(sum, self._requests.values())),
            attempts=sum(sum(outcomes.values()) for outcomes in self._attempts.values()),
            truncated=self.truncated,
            panics=self.panics,
        )

    def requests(self) -> Iterator[tuple[str, str, int]]:
        """Region (empty if none answered), class of status, count; only what has happened."""
        for region, counts in self._requests.items():
            for code, count in zip(_CODES, counts, strict=True):
                if count:
                    yield region, code, count

    def attempts(self) -> Iterator[tuple[str, AttemptOutcome, int]]:
        """Region, outcome, count."""
        for region, outcomes in self._attempts.items():
            for outcome, count in outcomes.items():
                yield region, outcome, count

    def durations(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative buckets as Prometheus wants them, and the sum in seconds."""
        bounds = (*map(str, DURATION_BUCKETS_S), "+Inf")
        return list(
            zip(bounds, map(float, accumulate(self._bucket_counts)), strict=True)
        ), self._duration_sum_s


@dataclass(frozen=True, slots=True)
class ServiceStatistics:
    """A snapshot of a `ServiceRecorder`; finished requests and ended attempts."""

    in_flight: int
    requests: int
    attempts: int
    truncated: int
    panics: int


class GatewayMetrics:
    """All metrics of one gateway process, in a registry of their own. Names and labels are a contract.

    Label `region` is where something was done, and empty if nowhere.
    """

    def __init__(self) -> None:
        self._services: dict[str, ServiceRecorder] = {}
        self._peer_healthy = _Series(
            GaugeMetricFamily, "atoll_peer_healthy", "1 if a peer gateway is trusted.", ("region", "gateway")
        )
        self._peer_transitions = _Series(
            CounterMetricFamily,
            "atoll_peer_transitions",
            "Changes between unknown, healthy and down.",
            ("region", "gateway"),
        )
        self._replicas = _Series(
            GaugeMetricFamily,
            "atoll_replicas",
            "Replicas of a service that this gateway sends to.",
            ("service",),
        )
        self._ejections = _Series(
            CounterMetricFamily,
            "atoll_replica_ejections",
            "Replicas taken out because they refused or broke a connection.",
            ("service",),
        )
        self._bulkhead_limit = _Series(
            GaugeMetricFamily,
            "atoll_bulkhead_limit",
            "Requests of a service that this gateway has under way in a region at most, now.",
            ("service", "region"),
        )
        self._bulkhead_in_flight = _Series(
            GaugeMetricFamily,
            "atoll_bulkhead_in_flight",
            "Requests that have a place in a bulkhead.",
            ("service", "region"),
        )
        self._bulkhead_waiting = _Series(
            GaugeMetricFamily,
            "atoll_bulkhead_waiting",
            "Requests that wait for a place.",
            ("service", "region"),
        )
        self._bulkhead_shed = _Series(
            CounterMetricFamily,
            "atoll_bulkhead_shed",
            "Requests that found no place in a region.",
            ("service", "region", "criticality"),
        )
        self._breaker_open = _Series(
            GaugeMetricFamily,
            "atoll_breaker_open",
            "1 unless the breaker of a region is closed.",
            ("service", "region"),
        )
        self._breaker_trips = _Series(
            CounterMetricFamily,
            "atoll_breaker_trips",
            "Times that a breaker went from closed to open.",
            ("service", "region"),
        )
        self._retry_balance = _Series(
            GaugeMetricFamily,
            "atoll_retry_balance",
            "Further attempts that the retry budget of a service would pay for now.",
            ("service",),
        )
        self._retry_requests = _Series(
            CounterMetricFamily,
            "atoll_retry_requests",
            "Further attempts paid for: retries, hedges and failovers.",
            ("service",),
        )
        self._retry_successes = _Series(
            CounterMetricFamily,
            "atoll_retry_successes",
            "Further attempts that brought the answer.",
            ("service",),
        )
        self._retry_limit_exceeded = _Series(
            CounterMetricFamily,
            "atoll_retry_limit_exceeded",
            "Requests not tried again because they had all their attempts.",
            ("service",),
        )
        self._retry_overflow = _Series(
            CounterMetricFamily,
            "atoll_retry_overflow",
            "Further attempts that the retry budget refused.",
            ("service",),
        )
        self._hedges_sent = _Series(
            CounterMetricFamily,
            "atoll_hedges_sent",
            "Second attempts against a slow first one.",
            ("service",),
        )
        self._hedges_won = _Series(
            CounterMetricFamily, "atoll_hedges_won", "Hedges that brought the answer.", ("service",)
        )
        self._problems = _Series(
            CounterMetricFamily,
            "atoll_problems",
            "Errors this gateway answered itself, by problem type.",
            ("type",),
        )
        self._keyed = _Series(
            CounterMetricFamily,
            "atoll_keyed_requests",
            "Requests with an Idempotency-Key that the gateway keeps, by what became of them.",
            ("service", "outcome"),
        )
        self._draining = _Series(
            GaugeMetricFamily, "atoll_draining", "1 while this gateway takes no new work."
        )
        self._revision = _Series(
            GaugeMetricFamily, "atoll_topology_revision", "Revision of the topology in force."
        )
        self._loads = _Series(
            CounterMetricFamily,
            "atoll_topology_loads",
            "Topology files read anew: taken up, or refused.",
            ("outcome",),
        )
        self._log_dropped = _Series(
            CounterMetricFamily,
            "atoll_access_log_dropped_lines",
            "Access log lines lost; writing did not keep up.",
        )
        self._certificate_expires = _Series(
            GaugeMetricFamily,
            "atoll_certificate_expires_timestamp_seconds",
            "When the certificate ends that this gateway shows other cells; absent without TLS.",
        )
        self._certificate_loads = _Series(
            CounterMetricFamily,
            "atoll_certificate_loads",
            "Renewed certificates: taken up, or refused.",
            ("outcome",),
        )
        self._draining.set(0)
        self._log_dropped.set(0)
        self._registry = CollectorRegistry()
        self._registry.register(_GatewayCollector(self._collect))
        ProcessCollector(registry=self._registry)

    def service(self, name: str) -> ServiceRecorder:
        """The recorder of a service; the same one each time, so that a reloaded topology goes on counting."""
        recorder = self._services.get(name)
        if recorder is None:
            recorder = self._services[name] = ServiceRecorder()
        return recorder

    def peer(self, region: str, gateway: str, *, healthy: bool, transitions: int) -> None:
        """What is believed of a peer gateway now, and how often that has changed."""
        self._peer_healthy.set(int(healthy), region, gateway)
        self._peer_transitions.set(transitions, region, gateway)

    def peers_are_in(self, regions: Collection[str]) -> None:
        """Nothing more is told of peers in other regions."""
        for series in (self._peer_healthy, self._peer_transitions):
            series.keep(lambda labels: labels[0] in regions)

    def replicas(self, service: str, count: int) -> None:
        """How many replicas of its own region this gateway knows."""
        self._replicas.set(count, service)

    def replica_ejections(self, service: str, count: int) -> None:
        """How often replicas of a service have been ejected so far."""
        self._ejections.set(count, service)

    def bulkhead(
        self,
        service: str,
        region: str,
        *,
        limit: int,
        in_flight: int,
        waiting: int,
        shed: Mapping[str, int],
    ) -> None:
        """The bulkhead of a service in a region now; `shed` is by criticality, so far."""
        self._bulkhead_limit.set(limit, service, region)
        self._bulkhead_in_flight.set(in_flight, service, region)
        self._bulkhead_waiting.set(waiting, service, region)
        for criticality, count in shed.items():
            self._bulkhead_shed.set(count, service, region, criticality)

    def breaker(self, service: str, region: str, *, closed: bool, trips: int) -> None:
        """The breaker of a service in a region now, and how often it has opened so far."""
        self._breaker_open.set(int(not closed), service, region)
        self._breaker_trips.set(trips, service, region)

    def retries(
        self, service: str, *, balance: int, requests: int, successes: int, limit_exceeded: int, overflow: int
    ) -> None:
        """The retry budget of a service now, and its counters so far (linkerd2-proxy's names)."""
        self._retry_balance.set(balance, service)
        self._retry_requests.set(requests, service)
        self._retry_successes.set(successes, service)
        self._retry_limit_exceeded.set(limit_exceeded, service)
        self._retry_overflow.set(overflow, service)

    def hedges(self, service: str, *, sent: int, won: int) -> None:
        """How many hedges have been sent so far, and how many of them brought the answer."""
        self._hedges_sent.set(sent, service)
        self._hedges_won.set(won, service)

    def problem(self, type_: str) -> None:
        """This gateway answered with a problem of its own; `type_` as in `Problem.type`."""
        self._problems.add(type_)

    def keyed(self, service: str, outcome: str) -> None:
        """A keyed request: how its key stood (`atoll.resilience.idempotency.Standing`), ``unavailable`` if that could
        not be asked; ``not-kept`` besides if its answer could not be written down.
        """
        self._keyed.add(service, outcome)

    def draining(self, draining: bool) -> None:
        self._draining.set(int(draining))

    def topology_taken(self, revision: int) -> None:
        """A topology is in force: the first one, or a changed file that was taken up."""
        self._revision.set(revision)
        self._loads.add("taken")

    def topology_refusals(self, count: int) -> None:
        """How often a changed topology file has been refused so far, and the old one kept."""
        self._loads.set(count, "refused")

    def certificate(self, expires: float, *, taken: int, refused: int) -> None:
        """The certificate that is in force, and how often a renewed one was taken up or refused so far."""
        self._certificate_expires.set(expires)
        self._certificate_loads.set(taken, "taken")
        self._certificate_loads.set(refused, "refused")

    def access_log_dropped(self, lines: int) -> None:
        """How many lines the access log has dropped so far."""
        self._log_dropped.set(lines)

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format, to be sent as `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _collect(self) -> Iterator[Metric]:
        requests = _Series(
            CounterMetricFamily,
            "atoll_requests",
            "Requests answered, by the region that produced the answer and the class of its status.",
            ("service", "region", "code"),
        )
        attempts = _Series(
            CounterMetricFamily,
            "atoll_attempts",
            "Attempts, by region and how they ended.",
            ("service", "region", "outcome"),
        )
        in_flight = _Series(
            GaugeMetricFamily, "atoll_requests_in_flight", "Requests not finished yet.", ("service",)
        )
        truncated = _Series(
            CounterMetricFamily,
            "atoll_responses_truncated",
            "Responses cut off after their first bytes had gone to the client.",
            ("service",),
        )
        panics = _Series(
            CounterMetricFamily,
            "atoll_panics",
            "Requests for which no region was in a state to serve, so that all were tried.",
            ("service",),
        )
        durations = HistogramMetricFamily(
            "atoll_request_duration_seconds",
            "From a request's head to its answer's end.",
            labels=("service",),
        )
        for name, recorder in self._services.items():
            for region, code, count in recorder.requests():
                requests.set(count, name, region, code)
            for region, outcome, count in recorder.attempts():
                attempts.set(count, name, region, outcome)
            in_flight.set(recorder.in_flight, name)
            truncated.set(recorder.truncated, name)
            panics.set(recorder.panics, name)
            buckets, total_s = recorder.durations()
            durations.add_metric((name,), buckets, total_s)
        for series in (requests, attempts, in_flight, truncated, panics):
            yield series.family()
        yield durations
        for series in (
            self._peer_healthy,
            self._peer_transitions,
            self._replicas,
            self._ejections,
            self._bulkhead_limit,
            self._bulkhead_in_flight,
            self._bulkhead_waiting,
            self._bulkhead_shed,
            self._breaker_open,
            self._breaker_trips,
            self._retry_balance,
            self._retry_requests,
            self._retry_successes,
            self._retry_limit_exceeded,
            self._retry_overflow,
            self._hedges_sent,
            self._hedges_won,
            self._problems,
            self._keyed,
            self._draining,
            self._revision,
            self._loads,
            self._log_dropped,
            self._certificate_expires,
            self._certificate_loads,
        ):
            yield series.family()


class _Series:
    """One metric and its values by labels."""

    __slots__ = ("_kind", "_labels", "_name", "_text", "_values")

    def __init__(
        self,
        kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
        name: str,
        text: str,
        labels: tuple[str, ...] = (),
    ) -> None:
        self._kind = kind
        self._name = name
        self._text = text
        self._labels = labels
        self._values: dict[tuple[str, ...], float] = {}

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = value

    def add(self, *labels: str) -> None:
        self._values[labels] = self._values.get(labels, 0) + 1

    def keep(self, wanted: Callable[[tuple[str, ...]], bool]) -> None:
        """Forgets all other labels' values."""
        self._values = {labels: value for labels, value in self._values.items() if wanted(labels)}

    def family(self) -> Metric:
        family = self._kind(self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return family


class _GatewayCollector(Collector):
    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        return self._collect()
