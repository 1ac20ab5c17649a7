# Steering's three ways, and regions that are drained.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:123456789012:topic" }
  }
  mock_resource "aws_globalaccelerator_accelerator" {
    defaults = { arn = "arn:aws:globalaccelerator::123456789012:accelerator/a" }
  }
  mock_resource "aws_globalaccelerator_listener" {
    defaults = { arn = "arn:aws:globalaccelerator::123456789012:accelerator/a/listener/b" }
  }
}

variables {
  environment   = "production"
  zone_id       = "Z1"
  public_domain = "shop.example.com"
  budget        = 100
  mail          = ["oncall@example.com"]
  regions = {
    us-east = { aws_region = "us-east-1" }
    eu-west = { aws_region = "eu-west-1" }
  }
  load_balancers = {
    us-east = { dns_name = "a.example", zone_id = "Z2", arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/a/1" }
    eu-west = { dns_name = "b.example", zone_id = "Z3", arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/b/1" }
  }
}

run "by_latency" {
  assert {
    condition     = [for record in aws_route53_record.steered : record.latency_routing_policy[0].region] == ["eu-west-1", "us-east-1"]
    error_message = "Each region has a record by latency."
  }
  assert {
    condition     = length(aws_globalaccelerator_accelerator.this) == 0
    error_message = "The accelerator is an option."
  }
  assert {
    condition     = aws_route53_health_check.region["eu-west"].fqdn == "eu-west.shop.example.com" && aws_route53_health_check.region["eu-west"].resource_path == "/-/readyz"
    error_message = "A region's own name is asked whether it can serve."
  }
  assert {
    condition     = !anytrue([for check in aws_route53_health_check.region : check.disabled])
    error_message = "No region is drained."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.two_out[0].threshold == 1 && contains(aws_cloudwatch_metric_alarm.two_out[0].metric_query[*].expression, "SUM([in_eu_west, in_us_east])")
    error_message = "Of two regions fewer than one is in when both are out."
  }
}

run "a_region_alone" {
  variables {
    regions = { eu-west = { aws_region = "eu-west-1" } }
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.two_out) == 0
    error_message = "There are no two that could be out."
  }
}

run "by_distance" {
  variables {
    steering = "geoproximity"
    bias     = { eu-west = 20 }
  }
  assert {
    condition     = aws_route53_record.steered["eu-west"].geoproximity_routing_policy[0].bias == 20 && aws_route53_record.steered["us-east"].geoproximity_routing_policy[0].bias == 0
    error_message = "A bias is of the region that it names."
  }
}

run "by_accelerator" {
  variables {
    steering = "accelerator"
    drained  = ["eu-west"]
  }
  assert {
    condition     = length(aws_route53_record.steered) == 0 && length(aws_globalaccelerator_endpoint_group.region) == 2
    error_message = "One address, and each region behind it."
  }
  assert {
    condition     = aws_globalaccelerator_endpoint_group.region["eu-west"].traffic_dial_percentage == 0 && aws_globalaccelerator_endpoint_group.region["us-east"].traffic_dial_percentage == 100
    error_message = "A drained region gets nothing."
  }
  assert {
    condition     = !anytrue([for group in aws_globalaccelerator_endpoint_group.region : one(group.endpoint_configuration).client_ip_preservation_enabled])
    error_message = "AWS preserves no client's address for a load balancer that ends TLS."
  }
}

run "drained" {
  variables {
    drained = ["eu-west"]
  }
  assert {
    condition     = aws_route53_health_check.region["eu-west"].disabled && aws_route53_health_check.region["eu-west"].invert_healthcheck && !aws_route53_health_check.region["us-east"].disabled
    error_message = "A drained region counts as failed, whatever it says."
  }
}

run "not_all_are_drained" {
  command = plan
  variables {
    drained = ["eu-west", "us-east"]
  }
  expect_failures = [var.drained]
}

run "a_way_that_is_none" {
  command = plan
  variables {
    steering = "random"
  }
  expect_failures = [var.steering]
}
