# How many workers and gateways there are follows their processors' use. Serve's own autoscaling decides about replicas;
# a group adds machines when those it has are busy, and a machine that goes is drained first.

locals {
  scaled = { workers = aws_autoscaling_group.workers.name, gateways = aws_autoscaling_group.gateways.name }
  busy   = { workers = 60, gateways = 50 } # percent; gateways leave room for a neighbour region's share
}

resource "aws_autoscaling_policy" "busy" {
  for_each = local.scaled

  name                      = "${each.value}-busy"
  autoscaling_group_name    = each.value
  policy_type               = "TargetTrackingScaling"
  estimated_instance_warmup = 180

  target_tracking_configuration {
    target_value = local.busy[each.key]
    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}
