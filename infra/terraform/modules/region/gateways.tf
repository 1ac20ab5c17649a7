# Gateways: two or more, behind a load balancer for clients (TLS ends there) and one for the own services and other
# regions (peers' TLS goes through it to the gateway, which checks who calls).

resource "aws_lb" "public" {
  # checkov:skip=CKV_AWS_91: gateways keep the access log, with what a load balancer can't know
  # checkov:skip=CKV_AWS_150: removing a region is taking its entry out of the map; its plan says what goes
  name                             = "${local.short_name}-public"
  load_balancer_type               = "network"
  subnets                          = values(aws_subnet.public)[*].id
  security_groups                  = [aws_security_group.this["public-lb"].id]
  enable_cross_zone_load_balancing = true
}

resource "aws_lb" "inner" {
  # checkov:skip=CKV_AWS_91: as above
  # checkov:skip=CKV_AWS_150: as above
  name                             = "${local.short_name}-inner"
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = values(aws_subnet.edge)[*].id
  security_groups                  = [aws_security_group.this["inner-lb"].id]
  enable_cross_zone_load_balancing = true
}

locals {
  short_name = "${var.environment}-${var.name}" # load balancers' names have 32 places

  # What the load balancers pass on to gateways, and whether with the caller's address.
  targets = {
    public = { port = local.ports.public, keep_address = true } # the address is the client's place
    peer   = { port = local.ports.peer, keep_address = false }  # the certificate says who calls
    own    = { port = local.ports.public, keep_address = false }
  }
  inner_targets = setsubtract(keys(local.targets), ["public"])
}

resource "aws_lb_target_group" "gateways" {
  for_each = local.targets

  name                   = "${local.short_name}-${each.key}"
  vpc_id                 = aws_vpc.this.id
  port                   = each.value.port
  protocol               = "TCP"
  preserve_client_ip     = each.value.keep_address
  deregistration_delay   = local.machines.gateways.drain_s
  connection_termination = true

  # The gateway itself says whether it can serve.
  health_check {
    protocol            = "HTTP"
    path                = "/-/readyz"
    port                = local.ports.public
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "public" {
  load_balancer_arn = aws_lb.public.arn
  port              = 443
  protocol          = "TLS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  alpn_policy       = "HTTP1Only"
  certificate_arn   = aws_acm_certificate_validation.public.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateways["public"].arn
  }
}

resource "aws_lb_listener" "inner" {
  for_each = local.inner_targets

  load_balancer_arn = aws_lb.inner.arn
  port              = local.targets[each.key].port
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateways[each.key].arn
  }
}

resource "aws_autoscaling_group" "gateways" {
  name                      = "${local.full_name}-gateways"
  min_size                  = var.region.gateways.minimum
  max_size                  = var.region.gateways.maximum
  vpc_zone_identifier       = values(aws_subnet.edge)[*].id
  target_group_arns         = values(aws_lb_target_group.gateways)[*].arn
  health_check_type         = "EC2" # a drained region's gateways are not ready, and must not be replaced for it
  health_check_grace_period = 300
  service_linked_role_arn   = aws_iam_service_linked_role.autoscaling.arn
  enabled_metrics           = local.group_metrics
  wait_for_capacity_timeout = "0"

  launch_template {
    id      = aws_launch_template.machine["gateways"].id
    version = aws_launch_template.machine["gateways"].latest_version
  }

  dynamic "initial_lifecycle_hook" {
    for_each = local.hooks["gateways"]
    content {
      name                 = initial_lifecycle_hook.key
      lifecycle_transition = initial_lifecycle_hook.value.transition
      heartbeat_timeout    = initial_lifecycle_hook.value.timeout_s
      default_result       = initial_lifecycle_hook.value.otherwise
    }
  }

  dynamic "tag" {
    for_each = local.machine_tags["gateways"]
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  # How many there are is the scaling policy's matter.
  lifecycle {
    ignore_changes = [desired_capacity]
  }
}
