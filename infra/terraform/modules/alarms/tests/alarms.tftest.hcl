# What makes a region unwell.

mock_provider "aws" {
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-west-1:123456789012:topic" }
  }
}

variables {
  environment = "production"
  name        = "eu-west"
  public      = { load_balancer = "net/a/1", target_group = "targetgroup/a/1" }
  log_group   = "/atoll/production/eu-west/gateways"
  namespace   = "Atoll"
  kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/1"
  mail        = ["oncall@example.com"]
}

run "every_alarm_tells_through_one" {
  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.figure), [aws_cloudwatch_metric_alarm.errors, aws_cloudwatch_metric_alarm.certificate]) :
      strcontains(aws_cloudwatch_composite_alarm.unwell.alarm_rule, "ALARM(\"${alarm.alarm_name}\")") && length(coalesce(alarm.alarm_actions, [])) == 0
    ])
    error_message = "The region's one alarm is made of all others, and they tell nobody themselves."
  }
  assert {
    condition     = length(split(" OR ", aws_cloudwatch_composite_alarm.unwell.alarm_rule)) == 7
    error_message = "Another alarm has come: does it tell anybody?"
  }
}

run "a_certificate_that_ends_in_two_weeks" {
  assert {
    condition     = aws_cloudwatch_metric_alarm.certificate.threshold == 14 && contains(aws_cloudwatch_metric_alarm.certificate.metric_query[*].expression, "(ends - EPOCH(ends)) / 86400")
    error_message = "In days, from now to its end."
  }
}
