output "atoll" {
  description = "For `atoll topology import`."
  value       = module.atoll.atoll
}

output "regions" {
  description = "What runbooks need of each region."
  value       = module.atoll.regions
}

output "secrets" {
  description = "Secrets that all regions share, by kind."
  value       = module.atoll.secrets
}

output "topics" {
  description = "Where alarms are published."
  value       = module.atoll.topics
}
