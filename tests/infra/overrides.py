"""What the copy that tests apply has different, because moto does not do what AWS does.

Each override is a file that Terraform merges over the module beside it. Each says what moto lacks, and
`test_overrides.py` asks for just that: once moto has it all, the test fails, and the override goes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.infra.cloud import IMAGES, Cloud


@dataclass(frozen=True, slots=True)
class Override:
    """One file laid over a module, and what to ask moto for."""

    module: str
    name: str
    lacks: str
    text: str
    has: Callable[[Cloud], bool]  # false, or a refused call, for as long as the override is needed

    def lay(self, tree: Path) -> None:
        (tree / "modules" / self.module / f"{self.name}_override.tf").write_text(self.text)


def _has_user_groups(cloud: Cloud) -> bool:
    return bool(cloud.client("elasticache").create_user_group(UserGroupId="group", Engine="valkey"))


def _has_subscribers(cloud: Cloud) -> bool:
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
    return bool(
        client.describe_subscribers_for_notification(
            AccountId="123456789012", BudgetName="asked", Notification=notification
        )
    )


def _has_composites(cloud: Cloud) -> bool:
    return bool(cloud.client("cloudwatch").put_composite_alarm(AlarmName="asked", AlarmRule="FALSE"))


def _has_associations(cloud: Cloud) -> bool:
    ec2, route53 = cloud.client("ec2"), cloud.client("route53")
    first, second = (ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"] for _ in range(2))
    zone = route53.create_hosted_zone(
        Name="asked.internal",
        VPC={"VPCRegion": "us-east-1", "VPCId": first},
        CallerReference="asked",
    )["HostedZone"]["Id"]
    return bool(
        route53.associate_vpc_with_hosted_zone(
            HostedZoneId=zone, VPC={"VPCRegion": "us-east-1", "VPCId": second}
        )
    )


def _template(cloud: Cloud) -> tuple[str, Any]:
    """A launch template with a tag of its own and one for its machines: its id, and what moto says is in it."""
    client = cloud.client("ec2")
    tag = [{"Key": "atoll", "Value": "asked"}]
    identity = client.create_launch_template(
        LaunchTemplateName=f"asked-{uuid4()}",
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": tag}],
        LaunchTemplateData={
            "ImageId": IMAGES[0]["ami_id"],
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tag}],
        },
    )["LaunchTemplate"]["LaunchTemplateId"]
    versions = client.describe_launch_template_versions(LaunchTemplateId=identity)
    return identity, versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]


def _keeps_own_tags_apart(cloud: Cloud) -> bool:
    _, data = _template(cloud)
    return [each["ResourceType"] for each in data["TagSpecifications"]] == ["instance"]


ROLE = "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/asked"


def _group(cloud: Cloud) -> Any:
    """A group of no machines, made and then changed in its size alone: what moto says of it."""
    client = cloud.client("autoscaling")
    name = f"asked-{uuid4()}"
    template = {"LaunchTemplateId": _template(cloud)[0], "Version": "1"}
    client.create_auto_scaling_group(
        AutoScalingGroupName=name,
        MinSize=0,
        MaxSize=1,
        VPCZoneIdentifier=cloud.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"],
        MixedInstancesPolicy={"LaunchTemplate": {"LaunchTemplateSpecification": template}},
        ServiceLinkedRoleARN=ROLE,
        InstanceMaintenancePolicy={"MinHealthyPercentage": 0, "MaxHealthyPercentage": 100},
        CapacityReservationSpecification={"CapacityReservationPreference": "none"},
    )
    client.update_auto_scaling_group(AutoScalingGroupName=name, MaxSize=2)
    return client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]


def _remembers_groups(cloud: Cloud) -> bool:
    group = _group(cloud)
    kept = {"CapacityReservationSpecification", "InstanceMaintenancePolicy", "MixedInstancesPolicy"}
    return bool(group["ServiceLinkedRoleARN"] == ROLE) and kept <= group.keys()


def _remembers_policies(cloud: Cloud) -> bool:
    client = cloud.client("autoscaling")
    name = _group(cloud)["AutoScalingGroupName"]
    client.put_scaling_policy(
        AutoScalingGroupName=name,
        PolicyName="asked",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration={
            "TargetValue": 50.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        },
    )
    policy = client.describe_policies(AutoScalingGroupName=name)["ScalingPolicies"][0]
    return "Enabled" in policy and "PredictiveScalingConfiguration" not in policy


def _remembers_descriptions(cloud: Cloud) -> bool:
    client = cloud.client("ec2")
    group = client.create_security_group(GroupName=f"asked-{uuid4()}", Description="asked")["GroupId"]
    prefixes = client.describe_managed_prefix_lists()["PrefixLists"][0]["PrefixListId"]
    for target in (
        {"UserIdGroupPairs": [{"GroupId": group, "Description": "asked"}]},
        {"PrefixListIds": [{"PrefixListId": prefixes, "Description": "asked"}]},
    ):
        client.authorize_security_group_egress(
            GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, **target}]
        )
    rules = client.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
    made = [rule for rule in rules["SecurityGroupRules"] if rule.get("FromPort") == 443]
    return len(made) == 2 and all(rule.get("Description") == "asked" for rule in made)


def _remembers_keys(cloud: Cloud) -> bool:
    key = cloud.client("kms", "eu-west-1").create_key()["KeyMetadata"]["Arn"]
    secret = cloud.client("secretsmanager").create_secret(
        Name="asked", SecretString="asked", AddReplicaRegions=[{"Region": "eu-west-1", "KmsKeyId": key}]
    )
    return bool(secret["ReplicationStatus"][0]["KmsKeyId"] == key)


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
        has=_has_associations,
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
        has=_has_composites,
    ),
    Override(
        module="region",
        name="cache",
        lacks="ElastiCache's groups of users and of parameters, a replication group's members, an end of subnet groups",
        text="""\
locals {
  cache_url = "rediss://atoll@cache.${local.zone_name}:${local.ports.cache}"
}

resource "aws_elasticache_subnet_group" "cache" {
  count = 0
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
        has=_has_user_groups,
    ),
    Override(
        module="region",
        name="groups",
        lacks="a memory for a group's role, maintenance, reservations, and mixed instances once its size changes",
        text="""\
resource "aws_autoscaling_group" "gateways" {
  lifecycle {
    ignore_changes = [
      capacity_reservation_specification,
      desired_capacity,
      instance_maintenance_policy,
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
""",
        has=_remembers_groups,
    ),
    Override(
        module="region",
        name="policies",
        lacks="a memory for whether a scaling policy is on, and tells of a prediction that none has",
        text="""\
resource "aws_autoscaling_policy" "busy" {
  lifecycle {
    ignore_changes = [enabled, predictive_scaling_configuration]
  }
}
""",
        has=_remembers_policies,
    ),
    Override(
        module="region",
        name="templates",
        lacks="a difference between tags of a launch template and tags of what it starts",
        text="""\
resource "aws_launch_template" "machine" {
  lifecycle {
    ignore_changes = [tag_specifications]
  }
}
""",
        has=_keeps_own_tags_apart,
    ),
    Override(
        module="region",
        name="rules",
        lacks="a memory for what describes a rule about a group or a list of prefixes",
        text="""\
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
""",
        has=_remembers_descriptions,
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
        has=_remembers_keys,
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
        has=_has_subscribers,
    ),
)


def lay(tree: Path) -> None:
    """Lays every override over the modules of a copied `infra/terraform`."""
    for override in OVERRIDES:
        override.lay(tree)
