# What all regions share: secrets that are made here, with a copy in each region that runs, so that machines read their
# own region's. Random ones are given their value when they are made, through a write-only argument: no value is ever in
# Terraform's state or plan. `secrets_revision` makes them anew (infra/runbooks/rotate.md).
#
# Mutual TLS between regions: the authority is a key in the operator's hands (`atoll certificates`), not in AWS. AWS
# Private CA costs 400 dollars a month, or 50 for certificates that live seven days at most; it would sign on a machine's
# own request, which an authority of two dozen certificates a year does not need, and whoever may call it may speak for a
# region. A key that is not there can't be called. What lies here is the authority's certificate; each region's own key
# and certificate are secrets of that region's module.

locals {
  shared = {
    agent-token = "What agents show each other"
    peer-token  = "What gateways of different regions show each other"
    session-key = "Signs session tokens, which every region accepts"
    tls-ca      = "Certificates of the authority that signs regions' certificates: two while it is rolled over"
  }

  random = toset([for kind in keys(local.shared) : kind if kind != "tls-ca"]) # that one is the operator's

  key = one(concat(aws_kms_key.shared[*].arn, [for name, region in var.regions : region.kms_key_arn if region.aws_region == data.aws_region.this.name]))

  # A secret is no copy of itself.
  copies = { for name, region in var.regions : region.aws_region => region.kms_key_arn if region.aws_region != data.aws_region.this.name }
}

data "aws_region" "this" {}

resource "aws_secretsmanager_secret" "shared" {
  # checkov:skip=CKV2_AWS_57: rotation is `secrets_revision`; all regions have to change together
  for_each = local.shared

  name                           = "atoll/${var.environment}/${each.key}"
  description                    = each.value
  kms_key_id                     = local.key
  recovery_window_in_days        = 7
  force_overwrite_replica_secret = true

  dynamic "replica" {
    for_each = local.copies
    content {
      region     = replica.key
      kms_key_id = replica.value
    }
  }
}

# uuid() is 122 bits of the operating system's randomness, anew at each apply; it is written when the revision changes.
resource "aws_secretsmanager_secret_version" "shared" {
  for_each = local.random

  secret_id                = aws_secretsmanager_secret.shared[each.key].id
  secret_string_wo         = sha256("${uuid()}${uuid()}")
  secret_string_wo_version = var.secrets_revision

  lifecycle {
    create_before_destroy = true # machines ask at any time
  }
}

# Only where no region stands here, whose machines could not decrypt with it.
resource "aws_kms_key" "shared" {
  # checkov:skip=CKV2_AWS_64: the default policy: the account decides by roles, and no machine has one for this key
  count = contains(values(var.regions)[*].aws_region, data.aws_region.this.name) ? 0 : 1

  description             = "Shared secrets of Atoll ${var.environment}, where they are written"
  enable_key_rotation     = true
  deletion_window_in_days = 7
}
