"""What a Ray head is started with: pure, so shown without Ray."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from atoll.cell.ray_head import PortRange, RayHeadSettings, RayPorts, ray_command, ray_environment

PORTS = RayPorts(
    gcs=26000,
    dashboard=26001,
    dashboard_agent_http=26002,
    dashboard_agent_grpc=26003,
    metrics_export=26004,
    runtime_env_agent=26005,
    dashboard_metrics=26006,
    node_manager=26007,
    object_manager=26008,
    serve_http=26009,
    serve_grpc=26010,
    workers=PortRange(26020, 26119),
    ingress_http=PortRange(26120, 26159),
    ingress_grpc=PortRange(26160, 26199),
)
SETTINGS = RayHeadSettings(
    region="eu-west",
    run="/home/ada/.atoll/eu-west",
    ports=PORTS,
    temp_dir=Path("/run/a/ray-eu"),
    token_file=Path("/run/a/token"),
)


def test_every_port_but_serves_own_is_handed_to_ray() -> None:
    given = " ".join([*ray_command(SETTINGS), *ray_environment(SETTINGS).values()])
    for port in fields(PORTS):
        value = getattr(PORTS, port.name)
        numbers = [value.first, value.last] if isinstance(value, PortRange) else [value]
        for number in numbers:
            assert (str(number) in given) == (port.name not in {"serve_http", "serve_grpc"}), port.name


def test_the_head_does_not_block_and_so_shares_no_fate() -> None:
    assert "--block" not in ray_command(SETTINGS)


def test_the_token_is_a_file_and_stands_in_no_command_or_environment() -> None:
    environment = ray_environment(SETTINGS)
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == "/run/a/token"
    assert "RAY_AUTH_TOKEN" not in environment


def test_the_caller_may_tune_but_not_take_away_marks_ports_and_authentication() -> None:
    environment = ray_environment(
        replace(
            SETTINGS,
            environment={
                "PATH": "/bin",
                "PYTHONPATH": "/services",
                "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "1",
                "RAY_AUTH_MODE": "disabled",
                "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "1",
                "ATOLL_RUN": "/else",
                "ATOLL_REGION": "else",
            },
        )
    )
    assert environment["PATH"] == "/bin"
    assert environment["PYTHONPATH"].endswith(":/services")
    assert environment["RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"] == "1"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"] == "26120"
    assert environment["ATOLL_RUN"] == "/home/ada/.atoll/eu-west"
    assert environment["ATOLL_REGION"] == "eu-west"


def test_nothing_of_the_callers_own_environment_leaks_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:1")
    monkeypatch.setenv("SECRET", "x")
    assert not {"RAY_ADDRESS", "SECRET"} & ray_environment(SETTINGS).keys()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temp_dir": Path("/" + "x" * 45)}, "at most 45 bytes"),
        ({"temp_dir": Path("relative")}, "absolute path"),
        ({"object_store_bytes": 1}, "object store needs at least"),
        ({"num_cpus": -1}, "use 0 or more"),
        ({"environment": {"RAY_ADDRESS": "here:1"}}, "unset it"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=f"region eu-west: .*{says}"):
        replace(SETTINGS, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "last"), [(80, 90), (3000, 3000), (65000, 70000)])
def test_port_ranges_are_checked(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="use 1024 <= first < last <= 65535"):
        PortRange(first, last)
