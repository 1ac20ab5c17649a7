"""The metrics of a gateway, as Prometheus reads them."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from atoll.telemetry.metrics import DURATION_BUCKETS_S, AttemptOutcome, GatewayMetrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(metrics: GatewayMetrics) -> Samples:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value for all_ in families for one in all_.samples
    }


def value(metrics: GatewayMetrics, name: str, **labels: str) -> float:
    return scrape(metrics)[name, tuple(sorted(labels.items()))]


@pytest.fixture
def metrics() -> GatewayMetrics:
    return GatewayMetrics()


def test_requests_are_counted_by_region_and_class(metrics: GatewayMetrics) -> None:
    quote = metrics.service("quote")
    for region, status in (
        ("eu-west", 200),
        ("eu-west", 204),
        ("us-east", 503),
        (None, 503),
        ("eu-west", 999),
    ):
        quote.started()
        quote.finished(region, status, 0.01)
    name = "atoll_requests_total"
    assert value(metrics, name, service="quote", region="eu-west", code="2xx") == 2
    assert value(metrics, name, service="quote", region="eu-west", code="other") == 1
    assert value(metrics, name, service="quote", region="us-east", code="5xx") == 1
    assert value(metrics, name, service="quote", region="", code="5xx") == 1
    assert quote.statistics().requests == 5


def test_requests_in_flight_go_up_and_down(metrics: GatewayMetrics) -> None:
    quote = metrics.service("quote")
    quote.started()
    quote.started()
    assert value(metrics, "atoll_requests_in_flight", service="quote") == 2
    quote.finished("eu-west", 200, 0.01)
    assert value(metrics, "atoll_requests_in_flight", service="quote") == 1
    assert quote.in_flight == 1


def test_attempts_are_counted_by_outcome(metrics: GatewayMetrics) -> None:
    quote = metrics.service("quote")
    quote.attempt("eu-west", AttemptOutcome.UNREACHABLE)
    quote.attempt("us-east", AttemptOutcome.ANSWERED)
    name = "atoll_attempts_total"
    assert value(metrics, name, service="quote", region="eu-west", outcome="unreachable") == 1
    assert value(metrics, name, service="quote", region="eu-west", outcome="answered") == 0
    assert value(metrics, name, service="quote", region="us-east", outcome="answered") == 1
    assert quote.statistics().attempts == 2


def test_durations_fall_in_cumulative_buckets_with_their_bound_inside(metrics: GatewayMetrics) -> None:
    quote = metrics.service("quote")
    for duration_s in (0.0005, 0.001, 0.3, 45.0):
        quote.started()
        quote.finished("eu-west", 200, duration_s)
    bucket = "atoll_request_duration_seconds_bucket"
    assert value(metrics, bucket, service="quote", le="0.001") == 2
    assert value(metrics, bucket, service="quote", le="0.25") == 2
    assert value(metrics, bucket, service="quote", le="0.5") == 3
    assert value(metrics, bucket, service="quote", le="30.0") == 3
    assert value(metrics, bucket, service="quote", le="+Inf") == 4
    assert value(metrics, "atoll_request_duration_seconds_count", service="quote") == 4
    assert value(metrics, "atoll_request_duration_seconds_sum", service="quote") == pytest.approx(45.3015)
    assert list(DURATION_BUCKETS_S) == sorted(DURATION_BUCKETS_S)


def test_a_service_has_one_recorder(metrics: GatewayMetrics) -> None:
    assert metrics.service("quote") is metrics.service("quote")
    assert metrics.service("quote") is not metrics.service("catalog")


def test_two_gateways_in_one_process_share_nothing(metrics: GatewayMetrics) -> None:
    other = GatewayMetrics()
    metrics.service("quote").started()
    assert ("atoll_requests_in_flight", (("service", "quote"),)) not in scrape(other)


def test_what_else_a_gateway_tells(metrics: GatewayMetrics) -> None:
    metrics.peer("us-east", "us-east/gateway-1", healthy=True, transitions=1)
    metrics.peer("us-east", "us-east/gateway-1", healthy=False, transitions=2)
    metrics.replicas("quote", 3)
    metrics.replica_ejections("quote", 1)
    metrics.problem("no-region")
    metrics.problem("no-region")
    metrics.topology_taken(4)
    metrics.topology_refusals(1)
    metrics.draining(draining=True)
    metrics.access_log_dropped(7)
    metrics.service("quote").truncated += 1
    metrics.service("quote").panics += 1
    peer = {"region": "us-east", "gateway": "us-east/gateway-1"}
    assert value(metrics, "atoll_peer_healthy", **peer) == 0
    assert value(metrics, "atoll_peer_transitions_total", **peer) == 2
    assert value(metrics, "atoll_replicas", service="quote") == 3
    assert value(metrics, "atoll_replica_ejections_total", service="quote") == 1
    assert value(metrics, "atoll_problems_total", type="no-region") == 2
    assert value(metrics, "atoll_topology_revision") == 4
    assert value(metrics, "atoll_topology_loads_total", outcome="taken") == 1
    assert value(metrics, "atoll_topology_loads_total", outcome="refused") == 1
    assert value(metrics, "atoll_draining") == 1
    assert value(metrics, "atoll_access_log_dropped_lines_total") == 7
    assert value(metrics, "atoll_responses_truncated_total", service="quote") == 1
    assert value(metrics, "atoll_panics_total", service="quote") == 1


def test_the_certificate_is_told_of_where_there_is_one(metrics: GatewayMetrics) -> None:
    assert b"\natoll_certificate_expires_timestamp_seconds " not in metrics.exposition()
    metrics.certificate(1_800_000_000.0, taken=2, refused=1)
    assert value(metrics, "atoll_certificate_expires_timestamp_seconds") == 1_800_000_000
    assert value(metrics, "atoll_certificate_loads_total", outcome="taken") == 2
    assert value(metrics, "atoll_certificate_loads_total", outcome="refused") == 1


def test_the_process_tells_its_memory(metrics: GatewayMetrics) -> None:
    assert value(metrics, "process_resident_memory_bytes") > 0


def test_nothing_of_the_client_librarys_own_leaks_in(metrics: GatewayMetrics) -> None:
    metrics.service("quote").attempt("eu-west", AttemptOutcome.LOST)
    names = {name for name, _ in scrape(metrics)}
    assert {name for name in names if name.endswith("_created")} == set()
    assert all(name.startswith(("atoll_", "process_")) for name in names)
