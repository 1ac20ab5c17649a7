"""The production environment applied for real, against a cloud that is a process here.

From nothing to three regions, to four, one of them lost, back to three, to nothing. Done once, step by step; each test
looks at one thing of it.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.infra.cloud import Cloud
from tests.infra.deployment import FRANKFURT, Deployment, copied
from tests.infra.terraform import ROOT, Change, TerraformError

pytestmark = [pytest.mark.timeout(2400), pytest.mark.xdist_group("apply")]

THREE = {"us-east", "eu-west", "ap-northeast"}
AWS_REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1", "eu-central-1")
MODULE = {
    "us-east": "module.atoll.module.us_east_1",
    "eu-west": "module.atoll.module.eu_west_1",
    "ap-northeast": "module.atoll.module.ap_northeast_1",
    "eu-central": "module.atoll.module.eu_central_1",
}


@dataclass(frozen=True, slots=True)
class History:
    """What each step planned, and what the deployment said of itself after it."""

    second: tuple[Change, ...]
    three: Any
    added: tuple[Change, ...]
    four: Any
    lost: str  # what a plan of everything says while a region's endpoints don't answer
    lost_global: tuple[Change, ...]  # what is planned, and was applied, of steering alone at that time
    removed: tuple[Change, ...]
    left: tuple[str, ...]  # resources in the state after everything was destroyed
    there: tuple[str, ...]  # networks and load balancers of the cloud while there were four
    left_there: tuple[str, ...]  # and after everything was destroyed


@pytest.fixture(scope="module")
def history(provider: None, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> History:
    deployment = copied(tmp_path_factory.mktemp("apply"), "production", AWS_REGIONS, cloud.environment)
    terraform = deployment.terraform
    terraform.init()
    terraform.apply()
    three = terraform.output("atoll")
    second = terraform.plan()

    deployment.add(FRANKFURT)
    added = terraform.plan("-refresh=false")  # the second plan has just looked at all there is
    terraform.apply("plan")
    four = terraform.output("atoll")
    there = cloud.left(AWS_REGIONS)

    lost, lost_global = _while_lost(deployment)

    deployment.remove(FRANKFURT)
    removed = terraform.plan()
    terraform.apply("plan")

    terraform.destroy()
    left = terraform.resources()
    return History(
        second, three, added, four, lost, lost_global, removed, left, there, cloud.left(AWS_REGIONS)
    )


def _while_lost(deployment: Deployment) -> tuple[str, tuple[Change, ...]]:
    terraform = deployment.terraform
    deployment.lose("eu-central-1")
    try:
        with pytest.raises(TerraformError) as everything:
            terraform.plan()
        changes = terraform.plan(
            *("-refresh=false", "-target=module.atoll.module.global.aws_route53_health_check.region"),
            *("-var", 'drained=["eu-central"]'),
        )
        terraform.apply("plan")
        return str(everything.value), changes
    finally:
        deployment.find()


def test_a_second_plan_changes_nothing(history: History) -> None:
    assert history.second == ()


def test_the_regions_are_there(history: History) -> None:
    assert history.three["regions"].keys() == THREE
    assert history.four["regions"].keys() == THREE | {"eu-central"}


def test_a_region_is_added_without_a_change_to_the_others(history: History) -> None:
    assert {change.actions for change in history.added if _of_a_region(change, THREE)} == {("create",)}
    links = [
        change.address for change in history.added if change.address.startswith(f"{MODULE['eu-west']}_links")
    ]
    assert any("aws_route.to" in address and "eu-central" in address for address in links)
    assert all('eu-central"]' in address for address in links), "nothing between the others"
    assert len([change for change in history.added if _of_a_region(change, {"eu-central"})]) > 50


def test_a_region_is_removed_without_a_change_to_the_others(history: History) -> None:
    assert {change.actions for change in history.removed if _of_a_region(change, THREE)} == {("delete",)}
    added = {change.address for change in history.added if change.actions == ("create",)}
    assert {change.address for change in history.removed if change.actions == ("delete",)} == added


def test_without_a_region_that_does_not_answer_the_rest_of_the_world_is_applied(history: History) -> None:
    assert "eu_central_1" in history.lost, "the control: a plan of everything asks the lost region"
    assert [change.address for change in history.lost_global] == [
        'module.atoll.module.global.aws_route53_health_check.region["eu-central"]'
    ]


def test_nothing_is_left(history: History) -> None:
    assert history.left == ()
    assert len(history.there) == 4 * 3, "a network and two load balancers each: the control"
    assert history.left_there == ()


def test_the_imported_topology_is_sound_and_names_everything(history: History, tmp_path: Path) -> None:
    document, topology = tmp_path / "deployment.json", tmp_path / "topology.toml"
    document.write_text(json.dumps(history.three))
    base = ROOT / "infra" / "topologies" / "shop.toml"
    _atoll("topology", "import", str(document), "--base", str(base), "--output", str(topology))
    assert "3 regions" in _atoll("topology", "check", str(topology))
    text = topology.read_text()
    for name in THREE:
        assert f"[regions.{name}]" in text
        assert f"gateways.{name}.atoll.internal:8443" in text
        assert f"agent.{name}.atoll.internal:8444" in text
        assert f"state.{name}.atoll.internal:6379" in text
        assert f"https://{name}.shop.example.com" in text
    assert text.count("[[links]]") == 3


def _of_a_region(change: Change, names: set[str]) -> bool:
    return any(
        change.address.startswith((f"{MODULE[name]}[", *(f"{MODULE[name]}_{part}[" for part in PARTS)))
        for name in names
    )


PARTS = ("requests", "links", "alarms")


def _atoll(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "atoll.cli", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
