output "topics" {
  description = "Where alarms are published: `told` for what can wait, `paged` for what can't."
  value       = { told = aws_sns_topic.told.arn, paged = aws_sns_topic.paged.arn }
}
