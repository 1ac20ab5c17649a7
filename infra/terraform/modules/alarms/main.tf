# What is looked at in a region. A figure's alarm tells nobody by itself: one composite alarm says that the region is
# unwell, once, and names what it is made of. Whether clients still come to it is steering's matter (modules/global).

locals {
  label = "atoll-${var.environment}-${var.name}"

  # Read from the gateways' access log: the load balancer passes TLS and TCP and knows no status.
  logged = {
    requests    = { pattern = "{ $.status = * }", value = "1", unit = "Count" }
    errors      = { pattern = "{ $.status >= 500 }", value = "1", unit = "Count" }
    duration_ms = { pattern = "{ $.duration_ms = * }", value = "$.duration_ms", unit = "Milliseconds" }
  }

  balancer = { LoadBalancer = var.public.load_balancer, TargetGroup = var.public.target_group }

  # For five minutes each; `missing` is what silence means.
  figures = {
    gateways = {
      says       = "A gateway is not ready", namespace = "AWS/NetworkELB", metric = "UnHealthyHostCount"
      dimensions = local.balancer, statistic = "Maximum", above = 0, missing = "breaching"
    }
    latency = {
      says       = "Requests are slow", namespace = var.namespace, metric = "duration_ms"
      dimensions = {}, statistic = "p99", above = var.limits.p99_ms, missing = "notBreaching"
    }
    staleness = {
      says       = "Peers' writes arrive late", namespace = var.namespace, metric = "atoll_state_staleness_seconds"
      dimensions = { Region = var.name }, statistic = "Maximum", above = var.limits.staleness_s, missing = "breaching"
    }
    state-disk = {
      says       = "The state store's volume fills up", namespace = var.namespace, metric = "disk_used_percent"
      dimensions = { Region = var.name, Machine = "state" }, statistic = "Maximum", above = var.limits.disk_percent, missing = "breaching"
    }
    head-disk = {
      says       = "The head's volume fills up", namespace = var.namespace, metric = "disk_used_percent"
      dimensions = { Region = var.name, Machine = "head" }, statistic = "Maximum", above = var.limits.disk_percent, missing = "breaching"
    }
  }
}

resource "aws_cloudwatch_log_metric_filter" "access" {
  for_each = local.logged

  name           = "${local.label}-${each.key}"
  log_group_name = var.log_group
  pattern        = each.value.pattern

  metric_transformation {
    namespace = var.namespace
    name      = each.key
    value     = each.value.value
    unit      = each.value.unit
  }
}

resource "aws_cloudwatch_metric_alarm" "figure" {
  for_each = local.figures

  alarm_name          = "${local.label}-${each.key}"
  alarm_description   = "${each.value.says} in ${var.name}."
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic == "p99" ? null : each.value.statistic
  extended_statistic  = each.value.statistic == "p99" ? "p99" : null
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = each.value.missing
}

# A share, and only where there are enough requests for one to mean something.
resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${local.label}-errors"
  alarm_description   = "Gateways of ${var.name} answer with errors."
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.limits.errors_percent
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "share"
    expression  = "IF(requests > 50, 100 * FILL(errors, 0) / requests, 0)"
    label       = "errors in percent"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = toset(["requests", "errors"])
    content {
      id = metric_query.value
      metric {
        namespace   = var.namespace
        metric_name = metric_query.value
        period      = 60
        stat        = "Sum"
      }
    }
  }
}

# Without one that is valid no other region talks to this one.
resource "aws_cloudwatch_metric_alarm" "certificate" {
  alarm_name          = "${local.label}-certificate"
  alarm_description   = "The certificate that gateways of ${var.name} show to other regions ends soon. Runbook: rotate.md"
  evaluation_periods  = 1
  comparison_operator = "LessThanThreshold"
  threshold           = var.limits.certificate_days
  treat_missing_data  = "missing" # gateways that tell nothing have alarms of their own

  metric_query {
    id          = "days"
    expression  = "(ends - EPOCH(ends)) / 86400"
    label       = "days until it ends"
    return_data = true
  }

  metric_query {
    id = "ends"
    metric {
      namespace   = var.namespace
      metric_name = "atoll_certificate_expires_timestamp_seconds"
      dimensions  = { Region = var.name }
      period      = 300
      stat        = "Minimum"
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "unwell" {
  alarm_name        = "${local.label}-unwell"
  alarm_description = "The region ${var.name} is unwell; the alarms below say what it is."
  alarm_actions     = [aws_sns_topic.told.arn]
  ok_actions        = [aws_sns_topic.told.arn]

  alarm_rule = join(" OR ", sort([
    for alarm in concat(values(aws_cloudwatch_metric_alarm.figure), [aws_cloudwatch_metric_alarm.errors, aws_cloudwatch_metric_alarm.certificate]) :
    "ALARM(\"${alarm.alarm_name}\")"
  ]))
}

resource "aws_sns_topic" "told" {
  name              = "${local.label}-told"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_subscription" "mail" {
  for_each = var.mail

  topic_arn = aws_sns_topic.told.arn
  protocol  = "email"
  endpoint  = each.key
}
