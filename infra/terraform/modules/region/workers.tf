# Ray workers: a base on demand, of what is above it a share on spot, over several types of instance and all zones.
# Upgrades are the operator's (infra/runbooks): head and workers must run the same Ray, so nothing refreshes by itself.

resource "aws_autoscaling_group" "workers" {
  name                      = "${local.full_name}-workers"
  min_size                  = var.region.workers.minimum
  max_size                  = var.region.workers.maximum
  vpc_zone_identifier       = values(aws_subnet.inner)[*].id
  health_check_type         = "EC2"
  health_check_grace_period = 300
  capacity_rebalance        = true
  service_linked_role_arn   = aws_iam_service_linked_role.autoscaling.arn
  enabled_metrics           = local.group_metrics
  wait_for_capacity_timeout = "0"

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = var.region.workers.on_demand_base
      on_demand_percentage_above_base_capacity = 100 - var.region.workers.spot_percent
      on_demand_allocation_strategy            = "prioritized"
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.machine["workers"].id
        version            = aws_launch_template.machine["workers"].latest_version
      }

      dynamic "override" {
        for_each = var.region.workers.instance_types
        content {
          instance_type = override.value
        }
      }
    }
  }

  dynamic "initial_lifecycle_hook" {
    for_each = local.hooks["workers"]
    content {
      name                 = initial_lifecycle_hook.key
      lifecycle_transition = initial_lifecycle_hook.value.transition
      heartbeat_timeout    = initial_lifecycle_hook.value.timeout_s
      default_result       = initial_lifecycle_hook.value.otherwise
    }
  }

  dynamic "tag" {
    for_each = local.machine_tags["workers"]
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
