output "topic_arn" {
  description = "Where the region's alarms are published."
  value       = aws_sns_topic.told.arn
}
