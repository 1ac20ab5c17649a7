# Machines that keep something: the head (Ray's GCS store, so that the next head takes over actors and applications) and
# the state machine. Each is a group of one in the first zone, with a volume that outlives it: the machine attaches it by
# itself, and only that one. The state store is not managed, for none on offer gives `appendfsync always`, functions, and
# the gate that refuses writes until the boot's epoch is set.
#
# No snapshots: an acceptor of strong registers that went back in time would break its promises. A lost volume comes back
# empty, and is filled by the other regions.

resource "aws_ebs_volume" "stateful" {
  # checkov:skip=CKV2_AWS_9: no snapshots, see above
  for_each = local.stateful

  availability_zone = local.zones[local.home]
  type              = "gp3"
  size              = each.value.volume_gib
  encrypted         = true
  kms_key_id        = aws_kms_key.this.arn
  tags              = { Name = "${local.full_name}-${each.key}" }
}

locals {
  stateful_subnets = { head = aws_subnet.inner, state = aws_subnet.edge }
}

resource "aws_autoscaling_group" "stateful" {
  for_each = local.stateful

  name                      = "${local.full_name}-${each.key}"
  min_size                  = 1
  max_size                  = 1
  vpc_zone_identifier       = [local.stateful_subnets[each.key][local.home].id]
  health_check_type         = "EC2"
  health_check_grace_period = 300
  service_linked_role_arn   = aws_iam_service_linked_role.autoscaling.arn
  enabled_metrics           = local.group_metrics
  wait_for_capacity_timeout = "0" # machines wait for the topology, which comes after this

  launch_template {
    id      = aws_launch_template.machine[each.key].id
    version = aws_launch_template.machine[each.key].latest_version
  }

  # The old machine goes before the new one comes: there is one volume.
  instance_maintenance_policy {
    min_healthy_percentage = 0
    max_healthy_percentage = 100
  }

  dynamic "initial_lifecycle_hook" {
    for_each = local.hooks[each.key]
    content {
      name                 = initial_lifecycle_hook.key
      lifecycle_transition = initial_lifecycle_hook.value.transition
      heartbeat_timeout    = initial_lifecycle_hook.value.timeout_s
      default_result       = initial_lifecycle_hook.value.otherwise
    }
  }

  dynamic "tag" {
    for_each = local.machine_tags[each.key]
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
}
