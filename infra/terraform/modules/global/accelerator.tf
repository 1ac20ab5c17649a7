# The option: one pair of anycast addresses, taken in at AWS's edge and carried on its own network. A region that fails
# its health check gets no new connections within seconds, whatever clients and resolvers have cached.

locals {
  accelerated = { for name in ["this"] : name => var.regions if var.steering == "accelerator" }
}

resource "aws_globalaccelerator_accelerator" "this" {
  # checkov:skip=CKV_AWS_75: gateways log each request
  for_each = local.accelerated

  name            = var.environment
  ip_address_type = "IPV4"
}

resource "aws_globalaccelerator_listener" "https" {
  for_each = local.accelerated

  accelerator_arn = aws_globalaccelerator_accelerator.this[each.key].arn
  protocol        = "TCP"

  port_range {
    from_port = 443
    to_port   = 443
  }
}

resource "aws_globalaccelerator_endpoint_group" "region" {
  for_each = { for name, region in var.regions : name => region if var.steering == "accelerator" }

  listener_arn                  = aws_globalaccelerator_listener.https["this"].arn
  endpoint_group_region         = each.value.aws_region
  health_check_protocol         = "TCP" # a load balancer's own checks of /-/readyz decide; these ask the load balancer
  health_check_port             = 443
  health_check_interval_seconds = var.health.interval_s
  threshold_count               = var.health.failures

  traffic_dial_percentage = contains(var.drained, each.key) ? 0 : 100

  endpoint_configuration {
    endpoint_id                    = var.load_balancers[each.key].arn
    client_ip_preservation_enabled = false # AWS has it for no load balancer that ends TLS
  }
}

resource "aws_route53_record" "accelerated" {
  for_each = local.accelerated

  zone_id = var.zone_id
  name    = var.public_domain
  type    = "A"

  alias {
    name                   = aws_globalaccelerator_accelerator.this[each.key].dns_name
    zone_id                = aws_globalaccelerator_accelerator.this[each.key].hosted_zone_id
    evaluate_target_health = true
  }
}
