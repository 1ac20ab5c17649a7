"""A topology without a mechanism: still sound, the same but for that, and it turns off what it says."""

import tomllib
from pathlib import Path

import pytest

from atoll.cell.mechanisms import MECHANISMS, without
from atoll.routing.rank import RegionView, rank
from atoll.topology import Topology, check_succession, load, parse

FOLDER = Path(__file__).parents[2] / "infra" / "topologies"
FILES = sorted(FOLDER.glob("*.toml"))


def changed(file: Path, *mechanisms: str) -> Topology:
    return parse(without(tomllib.loads(file.read_text()), mechanisms), file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_without_nothing_it_is_the_same(file: Path) -> None:
    assert changed(file).digest == load(file).digest


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_running_gateways_take_it_up_and_go_back(file: Path, mechanism: str) -> None:
    as_it_is, less = load(file), changed(file, mechanism)
    assert less.digest != as_it_is.digest
    check_succession(as_it_is, less)
    check_succession(less, as_it_is)
    assert less.regions == as_it_is.regions and less.namespaces == as_it_is.namespaces


def test_all_of_them_at_once() -> None:
    less = changed(FILES[0], *MECHANISMS)
    assert not less.routing.failover and not less.hedge.enabled
    assert {service.max_attempts for service in less.services.values()} == {1}
    assert less.retry.floor_per_s == 1000


@pytest.mark.parametrize("failover", [True, False])
def test_without_failover_a_request_goes_to_the_nearest_region_whatever_is_known_of_it(
    *, failover: bool
) -> None:
    topology = load(FILES[0]) if failover else changed(FOLDER / "local.toml", "failover")
    views = [
        RegionView("us-east", "us", 10.0, healthy=False, health_reason="refused", draining=False, replicas=2),
        RegionView("eu-west", "eu", 80.0, healthy=True, health_reason="", draining=False, replicas=2),
    ]
    service = topology.services["quote"]
    ranking = rank(service, frozenset({"us", "eu"}), views, topology.routing)
    if failover:
        assert ranking.regions == ("eu-west",)
    else:
        assert ranking.regions == ("us-east",)
        assert "failover is turned off" in {candidate.reason for candidate in ranking.candidates}


def test_text_keeps_what_strings_hold() -> None:
    document = {
        "name": 'a "b" \\ é\n',
        "list": ["x", 1, 2.5],
        "inner": {"deep": {"on": True}},
        "many": [{"a": 1}],
    }
    assert tomllib.loads(without(document, [])) == document
