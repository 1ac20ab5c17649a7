output "atoll" {
  description = "The region as `atoll topology import` reads it."
  value = {
    title      = var.region.title
    latitude   = var.region.latitude
    longitude  = var.region.longitude
    zone       = var.region.zone
    aws_region = var.region.aws_region
    public_url = "https://${local.public_name}"
    gateways   = "gateways.${local.zone_name}:${local.ports.peer}"
    agent      = "agent.${local.zone_name}:${local.ports.agent}"
    head       = "head.${local.zone_name}"
    state      = "redis://state.${local.zone_name}:${local.ports.state}"
    cache      = local.cache_url
  }
}

output "aws_region" {
  description = "Where it stands."
  value       = var.region.aws_region
}

output "vpc_id" {
  description = "Its network, for links."
  value       = aws_vpc.this.id
}

output "linked_cidr" {
  description = "The addresses that other regions talk to: gateways, their inner load balancer, and the agent."
  value       = local.linked_cidr
}

output "route_table_ids" {
  description = "Route tables of the subnets that links may reach, by availability zone's number. Ray's machines have no route to another region."
  value       = { for zone, table in aws_route_table.edge : zone => table.id }
}

output "zone_id" {
  description = "The private zone NAME.DOMAIN, for its association with other regions' networks."
  value       = aws_route53_zone.private.zone_id
}

output "public" {
  description = "The load balancer for clients, for records, health checks and alarms."
  value = {
    dns_name      = aws_lb.public.dns_name
    zone_id       = aws_lb.public.zone_id
    arn           = aws_lb.public.arn
    load_balancer = aws_lb.public.arn_suffix
    target_group  = aws_lb_target_group.gateways["public"].arn_suffix
  }
}

output "autoscaling_groups" {
  description = "Names of the groups of machines, by role."
  value = merge(
    { for role, group in aws_autoscaling_group.stateful : role => group.name },
    { workers = aws_autoscaling_group.workers.name, gateways = aws_autoscaling_group.gateways.name },
  )
}

output "secrets" {
  description = "The region's own secrets, by kind. TLS certificates are empty until the operator puts them there."
  value       = { for kind, secret in aws_secretsmanager_secret.this : kind => secret.arn }
}

output "config_bucket" {
  description = "Where topology.toml and releases lie."
  value       = aws_s3_bucket.config.bucket
}

output "kms_key_arn" {
  description = "The key of the region's disks, secrets, logs and bucket."
  value       = aws_kms_key.this.arn
}

output "cache_user" {
  description = "User of the managed cache, to whom the operator gives the cache's password; null where the cache is Atoll's own."
  value       = one(aws_elasticache_user.cache[*].user_id)
}

output "logs" {
  description = "Log groups by role."
  value       = { for role, group in aws_cloudwatch_log_group.machine : role => group.name }
}

output "metrics" {
  description = "Where machines' figures go, for alarms: namespace, and the value of the dimension Region."
  value       = { namespace = local.metrics_namespace, region = var.name }
}
