# Steering: which region a client talks to. Each region has its own name too, for the steering document that Atoll's
# gateways give (`/-/steer`), for health checks, and for people.
#
# A region is taken out when its gateways say that they can serve nothing from anywhere, or say nothing: about
# interval x failures after, plus the 60 s for which a resolver may keep an alias to a load balancer. Until then its
# gateways forward to other regions, so this is for the loss of a region's gateways or network.
#
# A check follows from the map of regions alone, so that a region can be drained while nothing of it answers.

locals {
  by_dns = { for name, region in var.regions : name => region if var.steering != "accelerator" }
}

resource "aws_route53_health_check" "region" {
  for_each = var.regions

  type              = "HTTPS"
  fqdn              = "${each.key}.${var.public_domain}"
  port              = 443
  resource_path     = "/-/readyz"
  enable_sni        = true
  request_interval  = var.health.interval_s
  failure_threshold = var.health.failures
  measure_latency   = true

  # One that is not asked counts as healthy, and inverted as failed.
  disabled           = contains(var.drained, each.key)
  invert_healthcheck = contains(var.drained, each.key)

  tags = { Name = "${var.environment}-${each.key}" }
}

resource "aws_route53_record" "region" {
  # checkov:skip=CKV2_AWS_23: the load balancer that it names is in another module
  for_each = var.regions

  zone_id = var.zone_id
  name    = "${each.key}.${var.public_domain}"
  type    = "A"

  alias {
    name                   = var.load_balancers[each.key].dns_name
    zone_id                = var.load_balancers[each.key].zone_id
    evaluate_target_health = false # whoever asks for this region by name wants it and no other
  }
}

resource "aws_route53_record" "steered" {
  # checkov:skip=CKV2_AWS_23: the load balancer that it names is in another module
  for_each = local.by_dns

  zone_id         = var.zone_id
  name            = var.public_domain
  type            = "A"
  set_identifier  = each.key
  health_check_id = aws_route53_health_check.region[each.key].id

  alias {
    name                   = var.load_balancers[each.key].dns_name
    zone_id                = var.load_balancers[each.key].zone_id
    evaluate_target_health = true
  }

  dynamic "latency_routing_policy" {
    for_each = var.steering == "latency" ? [each.value.aws_region] : []
    content {
      region = latency_routing_policy.value
    }
  }

  dynamic "geoproximity_routing_policy" {
    for_each = var.steering == "geoproximity" ? [each.value.aws_region] : []
    content {
      aws_region = geoproximity_routing_policy.value
      bias       = lookup(var.bias, each.key, 0)
    }
  }
}
