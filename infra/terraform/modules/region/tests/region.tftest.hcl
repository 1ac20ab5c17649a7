# What the module decides, without a cloud: every provider call is mocked.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1c", "eu-west-1a", "eu-west-1b"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  environment   = "production"
  name          = "eu-west"
  public_domain = "shop.example.com"
  release       = { version = "0.6.0", requirements_sha256 = "f7a4b8f5a2f0a0d1d3f4a5b6c7d8e9f00112233445566778899aabbccddeeff0" }
  region = {
    aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16"
  }
}

run "two_zones_by_default" {
  command = plan

  assert {
    condition     = [for subnet in values(aws_subnet.inner) : subnet.availability_zone] == ["eu-west-1a", "eu-west-1b"]
    error_message = "A region stands in the first two zones by name."
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 2 && aws_autoscaling_group.gateways.min_size == 2
    error_message = "Each zone has its way out, and there are two gateways."
  }
  assert {
    condition     = alltrue([for group in aws_autoscaling_group.stateful : group.min_size == 1 && group.max_size == 1])
    error_message = "What keeps a volume is one machine."
  }
}

run "subnets_lie_apart_and_only_the_edge_is_linked" {
  command = plan

  assert {
    condition = alltrue([
      [for subnet in values(aws_subnet.public) : subnet.cidr_block] == ["10.1.0.0/24", "10.1.1.0/24"],
      [for subnet in values(aws_subnet.edge) : subnet.cidr_block] == ["10.1.16.0/24", "10.1.17.0/24"],
    ])
    error_message = "Public and edge subnets are /24 each."
  }
  assert {
    condition     = [for subnet in values(aws_subnet.inner) : subnet.cidr_block] == ["10.1.64.0/20", "10.1.80.0/20"]
    error_message = "Inner subnets are /20 each."
  }
  assert {
    condition     = output.linked_cidr == "10.1.16.0/20" && keys(output.route_table_ids) == ["0", "1"]
    error_message = "Links reach the edge tier, and it alone."
  }
}

run "workers_are_on_spot_above_a_base" {
  command = plan

  assert {
    condition = alltrue([
      one(aws_autoscaling_group.workers.mixed_instances_policy[*].instances_distribution[0]).on_demand_base_capacity == 1,
      one(aws_autoscaling_group.workers.mixed_instances_policy[*].instances_distribution[0]).on_demand_percentage_above_base_capacity == 25,
      aws_autoscaling_group.workers.capacity_rebalance,
    ])
    error_message = "One worker on demand, of the others three quarters on spot, and rebalanced before they are taken."
  }
  assert {
    condition     = toset(keys(local.hooks["workers"])) == toset(["ready", "drained"]) && toset(keys(local.hooks["state"])) == toset(["ready"])
    error_message = "Workers drain before they end; what keeps a volume has nothing to drain."
  }
}

run "no_spot" {
  command = plan
  variables {
    region = {
      aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16"
      nat        = "one"
      workers    = { instance_types = ["m6i.large"], spot_percent = 0 }
      cache      = { managed = false }
    }
  }

  assert {
    condition     = one(aws_autoscaling_group.workers.mixed_instances_policy[*].instances_distribution[0]).on_demand_percentage_above_base_capacity == 100
    error_message = "Without spot, one type of instance is enough, and all are on demand."
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.nat) == 4
    error_message = "One NAT serves all zones."
  }
  assert {
    condition     = length(aws_elasticache_replication_group.cache) == 0 && contains(local.machines.state.roles, "cache") && output.atoll.cache == "redis://cache.eu-west.atoll.internal:6382"
    error_message = "A cache that is not managed runs on the state machine, on a port of its own."
  }
  assert {
    condition     = local.architectures == { gateways = "arm64", head = "arm64", state = "arm64", workers = "x86_64" }
    error_message = "The image follows the type of instance."
  }
}

run "all_disks_are_encrypted_and_metadata_needs_a_session" {
  command = plan

  assert {
    condition = alltrue([for template in values(aws_launch_template.machine) : alltrue([
      one(template.metadata_options).http_tokens == "required",
      one(template.metadata_options).http_put_response_hop_limit == 1,
      one(one(template.block_device_mappings).ebs).encrypted == "true",
    ])])
    error_message = "IMDSv2 with one hop, encrypted disks."
  }
  assert {
    condition     = alltrue([for volume in values(aws_ebs_volume.stateful) : volume.encrypted])
    error_message = "Volumes are encrypted."
  }
}

run "nothing_is_open_but_the_public_door" {
  command = plan
  variables {
    peers = { us-east = { cidr = "10.2.0.0/16" } }
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.flow : rule.cidr_ipv4 == null])
    error_message = "Inside, groups name groups, not addresses."
  }
  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.peer : "${rule.cidr_ipv4}:${rule.from_port}-${rule.to_port}"]) == toset(["10.2.16.0/20:8443-8443", "10.2.16.0/20:8444-8444"])
    error_message = "Another region reaches gateways' and agents' ports from its edge tier, nothing else."
  }
  assert {
    condition     = length([for key, rule in local.rules : key if rule.to == "head" && rule.ports[0] <= 8265 && rule.ports[1] >= 8265 && !contains(["gateways", "state", "workers"], rule.from)]) == 0
    error_message = "Ray's dashboard is for gateways, the agent and Ray's own nodes."
  }
}

run "aws_takes_what_describes_groups_and_rules" {
  command = plan
  variables {
    peers = { us-east = { cidr = "10.2.0.0/16" } }
  }

  assert {
    condition = alltrue([
      for text in concat(
        values(aws_security_group.this)[*].description,
        values(aws_vpc_security_group_ingress_rule.flow)[*].description,
        values(aws_vpc_security_group_egress_rule.flow)[*].description,
        values(aws_vpc_security_group_ingress_rule.peer)[*].description,
        values(aws_vpc_security_group_egress_rule.peer)[*].description,
        values(aws_vpc_security_group_egress_rule.s3)[*].description,
        values(aws_vpc_security_group_egress_rule.https)[*].description,
        [aws_vpc_security_group_ingress_rule.clients.description],
      ) : can(regex("^[A-Za-z0-9 ._:/()#,@\\[\\]+=&;{}!$*-]{1,255}$", text))
    ])
    error_message = "EC2 refuses an apostrophe, and other signs, in a description."
  }
}

run "without_peers" {
  command = plan

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.peer) == 0 && length(aws_vpc_security_group_egress_rule.peer) == 0
    error_message = "A region alone opens nothing to others."
  }
}

run "machines_read_only_their_own_secrets" {
  command = plan

  assert {
    condition = alltrue([
      !contains(local.machines.workers.own_secrets, "admin-token"),
      !contains(local.machines.workers.own_secrets, "gcs-password"),
      !contains(local.machines.workers.shared_secrets, "peer-token"),
      !contains(local.machines.gateways.own_secrets, "gcs-password"),
    ])
    error_message = "Workers run what others wrote: they know no operators', peers' or GCS secret."
  }
  assert {
    condition     = !anytrue([for version in values(aws_secretsmanager_secret_version.generated) : version.secret_string != null])
    error_message = "No secret's value is in a state."
  }
}
