# Alarms on steering's own health checks, whose metrics are in us-east-1 alone; alarms on what goes on in a region are
# that region's (modules/alarms). One region out is what Atoll is built for: it is told. Two at once is what
# nobody sleeps through: it has a topic of its own, to be wired to a pager.

resource "aws_sns_topic" "told" {
  name              = "atoll-${var.environment}-told"
  kms_master_key_id = aws_kms_key.alarms.id
}

resource "aws_sns_topic" "paged" {
  name              = "atoll-${var.environment}-paged"
  kms_master_key_id = aws_kms_key.alarms.id
}

resource "aws_sns_topic_subscription" "mail" {
  for_each = merge([
    for address in var.mail : {
      "told/${address}"  = { topic = aws_sns_topic.told.arn, address = address }
      "paged/${address}" = { topic = aws_sns_topic.paged.arn, address = address }
    }
  ]...)

  topic_arn = each.value.topic
  protocol  = "email"
  endpoint  = each.value.address
}

# CloudWatch can publish to an encrypted topic only if the key lets it.
resource "aws_kms_key" "alarms" {
  description             = "Alarm topics of Atoll ${var.environment}"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = data.aws_iam_policy_document.alarms.json
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_iam_policy_document" "alarms" {
  # checkov:skip=CKV_AWS_109: the policy of a key, whose account administers it
  # checkov:skip=CKV_AWS_111: the policy of a key, whose account administers it
  # checkov:skip=CKV_AWS_356: in the policy of a key, * is this key
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"] # in a key's policy: this key

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:root"]
    }
  }

  statement {
    sid       = "Alarms"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "out" {
  for_each = var.regions

  alarm_name        = "atoll-${var.environment}-${each.key}-out"
  alarm_description = "Steering sends no client to ${each.key}. Runbook: lose-a-region.md"

  namespace           = "AWS/Route53"
  metric_name         = "HealthCheckStatus"
  dimensions          = { HealthCheckId = aws_route53_health_check.region[each.key].id }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"

  alarm_actions = [aws_sns_topic.told.arn]
  ok_actions    = [aws_sns_topic.told.arn]
}

locals {
  # Its health check by a region's name, as a formula can hold it.
  checks = { for name, check in aws_route53_health_check.region : "in_${replace(name, "-", "_")}" => check.id }
}

# Regions that are in are counted; one that says nothing is out. It is no composite of the alarms above, for CloudWatch
# deletes none that a composite still names, and Terraform would delete a region's before it changes the rule.
resource "aws_cloudwatch_metric_alarm" "two_out" {
  count = length(var.regions) > 1 ? 1 : 0

  alarm_name          = "atoll-${var.environment}-two-regions-out"
  alarm_description   = "Steering sends no client to two regions at least. Runbook: lose-a-region.md"
  evaluation_periods  = 1
  comparison_operator = "LessThanThreshold"
  threshold           = length(var.regions) - 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.paged.arn]
  ok_actions          = [aws_sns_topic.paged.arn]

  metric_query {
    id          = "regions"
    expression  = "SUM([${join(", ", keys(local.checks))}])"
    label       = "regions that are in"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.checks
    content {
      id = metric_query.key
      metric {
        namespace   = "AWS/Route53"
        metric_name = "HealthCheckStatus"
        dimensions  = { HealthCheckId = metric_query.value }
        period      = 60
        stat        = "Minimum"
      }
    }
  }
}
