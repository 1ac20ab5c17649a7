# A deployment: the public name, the regions with their links (regions.tf), and what belongs to all of them.

module "domain" {
  source = "../domain"

  zone          = var.public_zone
  public_domain = var.public_domain
}

locals {
  # What regions know of each other's networks.
  networks = {
    for name, region in local.built : name => {
      aws_region = region.aws_region
      cidr       = region.linked_cidr
      vpc_id     = region.vpc_id
      zone_id    = region.zone_id
    }
  }
}

module "global" {
  source = "../global"

  environment   = var.environment
  zone_id       = module.domain.zone_id
  public_domain = module.domain.public_domain
  steering      = var.steering
  drained       = var.drained
  budget        = var.budget
  mail          = var.mail

  regions        = { for name, region in var.regions : name => { aws_region = region.aws_region } }
  load_balancers = { for name, region in local.built : name => region.public }
}

module "trust" {
  source = "../trust"

  environment      = var.environment
  secrets_revision = var.secrets_revision

  regions = {
    for name, region in local.built : name => {
      aws_region  = region.aws_region
      kms_key_arn = region.kms_key_arn
    }
  }
}
