"""What the copy that tests apply has different, because moto does not do what AWS does.

Each override is a file that Terraform merges over the module beside it. Each says what moto lacks, and
`test_overrides.py` asks for just that: once moto has it, the test fails, and the override goes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infra.cloud import Cloud


@dataclass(frozen=True, slots=True)
class Override:
    """One file laid over a module, and the call that moto refuses."""

    module: str
    name: str
    lacks: str
    text: str
    ask: (
        Callable[[Cloud], Any] | None
    )  # fails for as long as the override is needed; None: a second plan would show it

    def lay(self, tree: Path) -> None:
        (tree / "modules" / self.module / f"{self.name}_override.tf").write_text(self.text)


def _user_group(cloud: Cloud) -> Any:
    return cloud.client("elasticache").create_user_group(UserGroupId="group", Engine="valkey")


def _subscribers(cloud: Cloud) -> Any:
    client = cloud.client("budgets")
    notification = {
        "NotificationType": "ACTUAL",
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": 50.0,
    }
    client.create_budget(
        AccountId="123456789012",
        Budget={
            "BudgetName": "asked",
            "BudgetLimit": {"Amount": "10", "Unit": "USD"},
            "TimeUnit": "MONTHLY",
            "BudgetType": "COST",
        },
        NotificationsWithSubscribers=[
            {
                "Notification": notification,
                "Subscribers": [{"SubscriptionType": "EMAIL", "Address": "oncall@example.com"}],
            }
        ],
    )
    return client.describe_subscribers_for_notification(
        AccountId="123456789012", BudgetName="asked", Notification=notification
    )


def _composite(cloud: Cloud) -> Any:
    return cloud.client("cloudwatch").put_composite_alarm(AlarmName="asked", AlarmRule="FALSE")


def _association(cloud: Cloud) -> Any:
    ec2, route53 = cloud.client("ec2"), cloud.client("route53")
    first, second = (ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"] for _ in range(2))
    zone = route53.create_hosted_zone(
        Name="asked.internal",
        VPC={"VPCRegion": "us-east-1", "VPCId": first},
        CallerReference="asked",
    )["HostedZone"]["Id"]
    return route53.associate_vpc_with_hosted_zone(
        HostedZoneId=zone, VPC={"VPCRegion": "us-east-1", "VPCId": second}
    )


OVERRIDES = (
    Override(
        module="links",
        name="names",
        lacks="that a zone which is made with a network is private",
        text="""\
resource "aws_route53_zone_association" "of" {
  for_each = {}
}
""",
        ask=_association,
    ),
    Override(
        module="alarms",
        name="composite",
        lacks="alarms that are made of alarms",
        text="""\
resource "aws_cloudwatch_composite_alarm" "unwell" {
  count = 0
}
""",
        ask=_composite,
    ),
    Override(
        module="global",
        name="composite",
        lacks="alarms that are made of alarms",
        text="""\
resource "aws_cloudwatch_composite_alarm" "two_out" {
  count = 0
}
""",
        ask=_composite,
    ),
    Override(
        module="region",
        name="cache",
        lacks="user groups and parameter groups of ElastiCache, and the members of a replication group",
        text="""\
locals {
  cache_url = "rediss://atoll@cache.${local.zone_name}:${local.ports.cache}"
}

resource "aws_elasticache_parameter_group" "cache" {
  count = 0
}

resource "aws_elasticache_user_group" "cache" {
  count = 0
}

resource "aws_elasticache_replication_group" "cache" {
  count = 0
}
""",
        ask=_user_group,
    ),
    Override(
        module="region",
        name="forgotten",
        lacks="a memory for settings of groups, templates and rules: it takes them, and tells others",
        text="""\
resource "aws_autoscaling_group" "gateways" {
  lifecycle {
    ignore_changes = [
      capacity_reservation_specification,
      desired_capacity,
      instance_maintenance_policy,
      launch_template,
      service_linked_role_arn,
    ]
  }
}

resource "aws_autoscaling_group" "stateful" {
  lifecycle {
    ignore_changes = [
      capacity_reservation_specification,
      desired_capacity,
      instance_maintenance_policy,
      launch_template,
      service_linked_role_arn,
    ]
  }
}

resource "aws_autoscaling_group" "workers" {
  lifecycle {
    ignore_changes = [
      capacity_reservation_specification,
      desired_capacity,
      instance_maintenance_policy,
      mixed_instances_policy,
      service_linked_role_arn,
    ]
  }
}

resource "aws_launch_template" "machine" {
  lifecycle {
    ignore_changes = [tag_specifications]
  }
}

resource "aws_vpc_security_group_egress_rule" "flow" {
  lifecycle {
    ignore_changes = [description]
  }
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  lifecycle {
    ignore_changes = [description]
  }
}

resource "aws_vpc_security_group_ingress_rule" "flow" {
  lifecycle {
    ignore_changes = [description]
  }
}

resource "aws_autoscaling_policy" "busy" {
  lifecycle {
    ignore_changes = [enabled, predictive_scaling_configuration]
  }
}
""",
        ask=None,
    ),
    Override(
        module="trust",
        name="copies",
        lacks="a memory for the key that a copy of a secret is encrypted with",
        text="""\
resource "aws_secretsmanager_secret" "shared" {
  dynamic "replica" {
    for_each = local.copies
    content {
      region = replica.key
    }
  }
}
""",
        ask=None,
    ),
    Override(
        module="global",
        name="budget",
        lacks="who is told of a budget, and its tags",
        text="""\
resource "aws_budgets_budget" "monthly" {
  count = 0
}
""",
        ask=_subscribers,
    ),
)


def lay(tree: Path) -> None:
    """Lays every override over the modules of a copied `infra/terraform`."""
    for override in OVERRIDES:
        override.lay(tree)
