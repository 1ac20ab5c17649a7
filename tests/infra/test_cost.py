"""The table of costs is what the plan of each environment comes to."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.infra.cloud import Cloud
from tests.infra.deployment import copied, script
from tests.infra.terraform import ROOT

COST = ROOT / "infra" / "cost" / "cost.py"
ENVIRONMENTS = {
    "production": ("us-east-1", "eu-west-1", "ap-northeast-1"),
    "minimal": ("us-east-1", "eu-west-1"),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_table_is_what_the_plan_comes_to(provider: None, cloud: Cloud, tmp_path: Path, name: str) -> None:
    terraform = copied(tmp_path, name, ENVIRONMENTS[name], cloud.environment, laid=False).terraform
    terraform.init()
    terraform.plan()
    cost = script(COST)
    table = cost.estimate(terraform.planned())
    print(f"\n{name}\n{table}")
    assert table in (ROOT / "infra" / "README.md").read_text(), f"{name} costs this now:\n{table}"


def _plan(*resources: Mapping[str, Any]) -> dict[str, Any]:
    return {"planned_values": {"root_module": {"child_modules": [{"resources": list(resources)}]}}}


def _resource(address: str, **values: Any) -> dict[str, Any]:
    kind = address.split(".")[-2]
    return {"address": address, "mode": "managed", "type": kind, "name": "x", "values": values}


def test_a_region_has_its_factor() -> None:
    cost = script(COST)
    price = {"aws_nat_gateway": 0.1, "us_east_1": 1.0, "eu_west_1": 2.0}
    here = cost.costs(_plan(_resource('module.atoll.module.us_east_1["a"].aws_nat_gateway.x')), price)
    there = cost.costs(_plan(_resource('module.atoll.module.eu_west_1["a"].aws_nat_gateway.x')), price)
    assert here["network"] == pytest.approx((73.0, 73.0))
    assert there["network"] == pytest.approx((146.0, 146.0))


def test_a_public_load_balancer_has_an_address_in_each_zone() -> None:
    cost = script(COST)
    price = {"aws_lb": 0.1, "public address": 0.01}
    subnets = [{**_resource("module.m.aws_subnet.x"), "name": "public"} for _ in range(2)]
    plan = _plan(_resource("module.m.aws_lb.x"), _resource("module.m.aws_lb.y", internal=True), *subnets)
    assert cost.costs(plan, price)["network"][0] == pytest.approx(730 * (2 * 0.1 + 2 * 0.01))


def test_an_alarm_costs_by_the_figures_that_it_looks_at() -> None:
    cost = script(COST)
    queries = [{"metric": []}, {"metric": [{}]}, {"metric": [{}]}]
    kind = "aws_cloudwatch_metric_alarm"
    plan = _plan(_resource(f"{kind}.x", metric_query=queries), _resource(f"{kind}.y", metric_query=[]))
    assert cost.costs(plan, {kind: 0.1})["keys, names, alarms"][0] == pytest.approx(0.3)


def test_a_machine_without_a_price_is_an_error() -> None:
    cost = script(COST)
    group = _resource(
        "module.atoll.module.us_east_1.aws_elasticache_replication_group.x",
        node_type="cache.new",
        num_cache_clusters=1,
    )
    with pytest.raises(KeyError, match=r"cache\.new"):
        cost.costs(_plan(group), {"us_east_1": 1.0})


def test_every_price_has_a_source_and_its_date_or_says_that_it_is_from_memory() -> None:
    cost = script(COST)
    for line in cost.listed():
        assert line["source"], line
        if line["item"] in cost.remembered() or line["source"] == "by definition":
            assert not line["date"], line
        else:
            assert date.fromisoformat(line["date"]) > date(2024, 1, 1), line


def test_the_table_says_which_rows_rest_on_memory() -> None:
    cost = script(COST)
    price = {"aws_nat_gateway": 0.1, "aws_lb": 0.2, "aws_kms_key": 1.0, "public address": 0.0}
    plan = _plan(*(_resource(f"{kind}.x") for kind in price if kind.startswith("aws_")))
    assert cost.shaky(plan, price, {"aws_lb"}) == ["network"]
    assert cost.shaky(plan, price, {"aws_lb", "aws_kms_key"}) == ["network", "keys, names, alarms"]
    assert cost.shaky(plan, price, {"aws_route53_zone"}) == []
    monthly = cost.costs(plan, price)
    assert "in part: 1 of 7: network.\n" in cost.table(monthly, ["network"])
    assert "in part: 0 of 7.\n" in cost.table(monthly, [])
