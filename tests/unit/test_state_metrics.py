"""The state's metrics, as Prometheus reads them from a gateway."""

from dataclasses import replace
from typing import Any, cast

import httpx
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.state_reports import state_report

from atoll.agent.metrics import exposition
from atoll.cell.state_report import PeerLag
from atoll.telemetry.metrics import CONTENT_TYPE, GatewayMetrics
from atoll.tls import TlsStatistics
from atoll_gateway.control import admin_app

CERTIFICATE = TlsStatistics(("agent.eu-west.atoll.internal",), 1_800_000_000.0, 12.5, 0, 0, None)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: bytes) -> Samples:
    families = text_string_to_metric_families(text.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for all_ in families for one in all_.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"atoll_state_{name}", frozenset({"region": "eu-west", **labels}.items())


def test_every_figure_is_a_metric() -> None:
    samples = read(exposition("eu-west", state_report()))
    wanted = {
        key("up"): 1,
        key("staleness_seconds", origin="us-east"): 0.4,
        key("lag_seconds", origin="us-east", quantile="0.99"): 0.21,
        key("peer_connected", origin="us-east"): 1,
        key("peer_connected", origin="eu-central"): 0,
        key("behind_operations", origin="us-east"): 7,
        key("conflicts_total", namespace="carts"): 3,
        key("log_entries"): 1200,
        key("log_bytes"): 5 << 20,
        key("tombstones"): 17,
        key("digest_mismatches_total"): 1,
        key("resyncs_total", reason="gap"): 2,
        key("resyncs_failed_total"): 4,
        key("clock_offset_seconds"): -0.003,
        key("writes_refused"): 0,
        key("skewed_operations_total"): 0,
        key("session_waits_total"): 40,
        key("session_waits_behind_total"): 6,
        key("session_waited_seconds_total"): 2.5,
        key("strong_ballots_total"): 25,
        key("strong_commits_total"): 20,
    }
    assert {name: samples.get(name) for name in wanted} == wanted
    assert key("lag_seconds", origin="eu-central", quantile="0.99") not in samples


def test_the_certificate_is_told_even_while_the_state_store_does_not_answer() -> None:
    samples = read(exposition("eu-west", None, CERTIFICATE))
    assert samples[key("certificate_expires_timestamp_seconds")] == CERTIFICATE.expires
    assert samples[key("up")] == 0


def test_every_metric_has_a_help_text() -> None:
    for family in text_string_to_metric_families(exposition("eu-west", state_report(), CERTIFICATE).decode()):
        assert family.documentation.endswith("."), family.name


def test_lag_of_which_nothing_is_known_is_not_a_number_and_no_zero() -> None:
    unknown = PeerLag(connected=False, staleness_s=None, p50_s=None, p99_s=None, behind=0)
    samples = read(exposition("eu-west", replace(state_report(), peers={"us-east": unknown})))
    found = samples[key("staleness_seconds", origin="us-east")]
    assert found != found  # noqa: PLR0124  NaN


def test_an_agent_that_does_not_answer_is_told_by_one_metric() -> None:
    assert read(exposition("eu-west", None)) == {key("up"): 0}


async def test_a_gateway_shows_them_after_its_own() -> None:
    class Control:
        def exposition(self) -> tuple[bytes, str]:
            return GatewayMetrics().exposition(), CONTENT_TYPE

        async def state_exposition(self) -> bytes:
            return exposition("eu-west", state_report())

    app = admin_app(cast("Any", Control()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        answer = await client.get("/-/metrics")
    samples = read(answer.content)
    assert samples[key("up")] == 1
    assert ("atoll_draining", frozenset()) in samples
