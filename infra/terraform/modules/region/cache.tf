# The managed cache: it evicts and keeps nothing, so ElastiCache gives all that a cache store must. The state store stays
# Atoll's own (stateful.tf): no managed store offers `appendfsync always`, functions, and refusing writes until the
# boot's epoch is set.

locals {
  cache_count = var.region.cache.managed ? 1 : 0
  cache_url = (
    var.region.cache.managed
    ? "rediss://${one(aws_elasticache_user.cache[*].user_name)}@${one(aws_elasticache_replication_group.cache[*].primary_endpoint_address)}:${local.ports.cache}"
    : "redis://cache.${local.zone_name}:${local.ports.cache}"
  )
}

resource "aws_elasticache_subnet_group" "cache" {
  count = local.cache_count

  name        = local.full_name
  description = "Cache of ${local.full_name}"
  subnet_ids  = values(aws_subnet.inner)[*].id
}

resource "aws_elasticache_parameter_group" "cache" {
  count = local.cache_count

  name        = local.full_name
  description = "Cache of ${local.full_name}"
  family      = "valkey8"

  parameter {
    name  = "maxmemory-policy"
    value = "allkeys-lfu"
  }
}

# The user starts with a way in that nobody has (IAM, and no role may); the operator gives it the password from the
# secret cache-password. A password here would be in the state.
resource "aws_elasticache_user" "cache" {
  count = local.cache_count

  user_id       = local.full_name
  user_name     = local.full_name
  engine        = "valkey"
  access_string = "on ~* &* +@all -@admin -@dangerous +info"

  authentication_mode {
    type = "iam"
  }

  lifecycle {
    ignore_changes = [authentication_mode, passwords]
  }
}

resource "aws_elasticache_user_group" "cache" {
  count = local.cache_count

  user_group_id = local.full_name
  engine        = "valkey"
  user_ids      = aws_elasticache_user.cache[*].user_id
}

resource "aws_elasticache_replication_group" "cache" {
  # checkov:skip=CKV_AWS_31: clients are told apart by users and passwords (RBAC), which takes the place of one token
  # checkov:skip=CKV2_AWS_50: `cache.nodes = 1` has nothing to fail over to; what a cache loses, it fills again
  count = local.cache_count

  replication_group_id = local.full_name
  description          = "Cache of ${local.full_name}"
  engine               = "valkey"
  engine_version       = "8.0"
  node_type            = var.region.cache.node_type
  num_cache_clusters   = var.region.cache.nodes
  port                 = local.ports.cache

  automatic_failover_enabled = var.region.cache.nodes > 1
  multi_az_enabled           = var.region.cache.nodes > 1
  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  kms_key_id                 = aws_kms_key.this.arn
  parameter_group_name       = one(aws_elasticache_parameter_group.cache[*].name)
  subnet_group_name          = one(aws_elasticache_subnet_group.cache[*].name)
  security_group_ids         = [aws_security_group.this["cache"].id]
  user_group_ids             = aws_elasticache_user_group.cache[*].user_group_id
  snapshot_retention_limit   = 0
  apply_immediately          = true
}
