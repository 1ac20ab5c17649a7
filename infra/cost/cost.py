"""What a plan of Terraform would cost a month, from the machines and things in it and the prices in prices.csv.

    terraform plan -out plan && terraform show -json plan | python infra/cost/cost.py

Prints a table of US dollars a month (730 hours): at the least number of machines, and at the most; and which rows of it
rest on a price from memory. Traffic is not in it, for no plan knows it. A kind of machine without a price is an error;
what costs nothing by itself is left out.
"""

import csv
import json
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

HOURS = 730
ROWS = ("gateways", "workers", "head and state", "cache", "network", "disks", "keys, names, alarms")

KEPT = {
    "aws_nat_gateway": ("network", HOURS),
    "aws_lb": ("network", HOURS),
    "aws_kms_key": ("keys, names, alarms", 1),
    "aws_secretsmanager_secret": ("keys, names, alarms", 1),
    "aws_route53_zone": ("keys, names, alarms", 1),
    "aws_route53_health_check": ("keys, names, alarms", 1),
    "aws_cloudwatch_metric_alarm": ("keys, names, alarms", 1),
    "aws_cloudwatch_composite_alarm": ("keys, names, alarms", 1),
}


def listed() -> list[dict[str, str]]:
    """The lines of prices.csv: item, usd, per, source, date."""
    with Path(__file__).with_name("prices.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def prices() -> dict[str, float]:
    return {line["item"]: float(line["usd"]) for line in listed()}


def remembered() -> set[str]:
    """Items whose price no dated source was found for."""
    return {line["item"] for line in listed() if line["source"].startswith("from memory")}


def costs(plan: Mapping[str, Any], price: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Dollars a month for each row: the least and the most."""
    resources = list(_resources(plan["planned_values"]["root_module"]))
    templates = {
        (_module(each), each["index"]): each["values"]
        for each in resources
        if each["type"] == "aws_launch_template"
    }
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(row: str, address: str, least: float, most: float) -> None:
        found = re.match(r"module\.atoll\.module\.([a-z]+_[a-z]+_\d)", address)
        factor = price[found[1]] if found else 1.0
        sums[row][0] += factor * least
        sums[row][1] += factor * most

    for each in resources:
        kind, values, address = each["type"], each.get("values", {}), each["address"]
        if kind == "aws_autoscaling_group":
            machine = each.get("index", each["name"])
            template = templates[_module(each), machine]
            row = machine if machine in ROWS else "head and state"
            counts = (values["min_size"], values["max_size"])
            add(row, address, *(HOURS * _machines(values, template, count, price) for count in counts))
            disk = template["block_device_mappings"][0]["ebs"][0]["volume_size"] * price["gp3"]
            add("disks", address, *(disk * count for count in counts))
        elif kind == "aws_ebs_volume":
            add("disks", address, *([values["size"] * price["gp3"]] * 2))
        elif kind == "aws_elasticache_replication_group":
            add("cache", address, *([HOURS * values["num_cache_clusters"] * price[values["node_type"]]] * 2))
        elif kind == "aws_vpc_endpoint" and values["vpc_endpoint_type"] == "Interface":
            add("network", address, *([HOURS * _subnets(resources, each, "inner") * price[kind]] * 2))
        elif kind == "aws_eip":
            add("network", address, *([HOURS * price["public address"]] * 2))
        elif kind in KEPT:
            row, times = KEPT[kind]
            add(row, address, *([times * _counted(kind, values) * price[kind]] * 2))
        if kind == "aws_lb" and not values.get("internal"):
            addresses = _subnets(resources, each, "public")
            add("network", address, *([HOURS * addresses * price["public address"]] * 2))
    return {row: (sums[row][0], sums[row][1]) for row in ROWS}


def shaky(plan: Mapping[str, Any], price: Mapping[str, float], items: Collection[str]) -> list[str]:
    """The rows that would be other ones if these items cost nothing."""
    without = costs(plan, {**price, **dict.fromkeys(items, 0.0)})
    return [row for row, sums in costs(plan, price).items() if sums != without[row]]


def table(monthly: Mapping[str, tuple[float, float]], doubtful: Collection[str]) -> str:
    """The rows and their sum, in Markdown, and how many rows rest on a price from memory."""
    rows = [*monthly.items(), ("**all**", tuple(sum(side) for side in zip(*monthly.values(), strict=True)))]
    lines = [f"| {row} | {least:,.0f} | {most:,.0f} |" for row, (least, most) in rows]
    names = f": {'; '.join(doubtful)}" if doubtful else ""
    note = (
        f"Rows that rest on a price from memory, wholly or in part: {len(doubtful)} of {len(monthly)}{names}."
    )
    return "\n".join(["| US dollars a month | least | most |", "|---|---|---|", *lines, "", note]) + "\n"


def estimate(plan: Mapping[str, Any]) -> str:
    """The table of a plan at the listed prices."""
    price = prices()
    return table(costs(plan, price), shaky(plan, price, remembered()))


def _machines(
    values: Mapping[str, Any], template: Mapping[str, Any], count: int, price: Mapping[str, float]
) -> float:
    """Dollars an hour of so many machines of a group."""
    each = price[template["instance_type"]]
    if not values.get("mixed_instances_policy"):
        return count * each
    share = values["mixed_instances_policy"][0]["instances_distribution"][0]
    base = min(count, share["on_demand_base_capacity"])
    demanded = base + (count - base) * share["on_demand_percentage_above_base_capacity"] / 100
    return each * (demanded + (count - demanded) * price["spot"])


def _counted(kind: str, values: Mapping[str, Any]) -> int:
    """How many times AWS counts one thing: a secret with its copies, an alarm by the figures that it looks at."""
    if kind == "aws_secretsmanager_secret":
        return 1 + len(values.get("replica") or ())
    if kind == "aws_cloudwatch_metric_alarm":
        return sum(1 for query in values.get("metric_query") or () if query["metric"]) or 1
    return 1


def _subnets(resources: Collection[Mapping[str, Any]], beside: Mapping[str, Any], name: str) -> int:
    """Subnets of this name in the same module: one in each zone."""
    return sum(
        1
        for other in resources
        if other["type"] == "aws_subnet" and other["name"] == name and _module(other) == _module(beside)
    )


def _resources(module: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in module.get("resources", ()):
        if resource["mode"] == "managed":
            yield resource
    for child in module.get("child_modules", ()):
        yield from _resources(child)


def _module(resource: Mapping[str, Any]) -> str:
    return str(resource["address"]).rsplit(f".{resource['type']}.", 1)[0]


if __name__ == "__main__":
    sys.stdout.write(estimate(json.load(sys.stdin)))
