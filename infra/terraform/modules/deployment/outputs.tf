output "atoll" {
  description = "What `atoll topology import` reads: every region with its gateways, agent and stores. It holds no secret."
  value = {
    schema        = "atoll.deployment/1"
    name          = var.environment
    domain        = var.domain
    public_domain = var.public_domain
    public_url    = "https://${var.public_domain}"
    regions       = { for name, region in local.built : name => region.atoll }
  }
}

output "regions" {
  description = "What runbooks need of each region."
  value = {
    for name, region in local.built : name => {
      aws_region         = region.aws_region
      config_bucket      = region.config_bucket
      autoscaling_groups = region.autoscaling_groups
      secrets            = region.secrets
      cache_user         = region.cache_user
      logs               = region.logs
    }
  }
}

output "secrets" {
  description = "Secrets that all regions share, by kind."
  value       = module.trust.secrets
}

output "topics" {
  description = "Where alarms are published."
  value       = module.global.topics
}
