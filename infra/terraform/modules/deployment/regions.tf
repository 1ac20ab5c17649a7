# Written by infra/terraform/aliases.py; add an AWS region there.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
      configuration_aliases = [
        aws.us_east_1,
        aws.us_west_2,
        aws.sa_east_1,
        aws.eu_west_1,
        aws.eu_central_1,
        aws.ap_south_1,
        aws.ap_southeast_1,
        aws.ap_northeast_1
      ]
    }
  }
}

locals {
  aws_regions = ["us-east-1", "us-west-2", "sa-east-1", "eu-west-1", "eu-central-1", "ap-south-1", "ap-southeast-1", "ap-northeast-1"]

  # Everything below by the region's name.
  built = merge(module.us_east_1, module.us_west_2, module.sa_east_1, module.eu_west_1, module.eu_central_1, module.ap_south_1, module.ap_southeast_1, module.ap_northeast_1)
  asked = merge(module.us_east_1_requests, module.us_west_2_requests, module.sa_east_1_requests, module.eu_west_1_requests, module.eu_central_1_requests, module.ap_south_1_requests, module.ap_southeast_1_requests, module.ap_northeast_1_requests)
}

module "us_east_1" {
  source    = "../region"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "us-east-1" }
  providers = { aws = aws.us_east_1 }

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = { for name, peer in var.regions : name => { cidr = peer.cidr } if name != each.key }
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}

module "us_east_1_requests" {
  source    = "../requests"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "us-east-1" }
  providers = { aws = aws.us_east_1 }

  name   = each.key
  vpc_id = module.us_east_1[each.key].vpc_id
  peers  = { for name, peer in local.networks : name => peer if name != each.key }
}

module "us_east_1_links" {
  source    = "../links"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "us-east-1" }
  providers = { aws = aws.us_east_1 }

  name            = each.key
  vpc_id          = module.us_east_1[each.key].vpc_id
  route_table_ids = module.us_east_1[each.key].route_table_ids
  peers           = { for name, peer in local.networks : name => peer if name != each.key }
  requested       = { for name, requests in local.asked : name => requests.connections }
}

module "us_east_1_alarms" {
  source    = "../alarms"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "us-east-1" }
  providers = { aws = aws.us_east_1 }

  environment = var.environment
  name        = each.key
  public      = module.us_east_1[each.key].public
  log_group   = module.us_east_1[each.key].logs["gateways"]
  namespace   = module.us_east_1[each.key].metrics.namespace
  kms_key_arn = module.us_east_1[each.key].kms_key_arn
  mail        = var.mail
}

module "us_west_2" {
  source    = "../region"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "us-west-2" }
  providers = { aws = aws.us_west_2 }

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = { for name, peer in var.regions : name => { cidr = peer.cidr } if name != each.key }
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}

module "us_west_2_requests" {
  source    = "../requests"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "us-west-2" }
  providers = { aws = aws.us_west_2 }

  name   = each.key
  vpc_id = module.us_west_2[each.key].vpc_id
  peers  = { for name, peer in local.networks : name => peer if name != each.key }
}

module "us_west_2_links" {
  source    = "../links"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "us-west-2" }
  providers = { aws = aws.us_west_2 }

  name            = each.key
  vpc_id          = module.us_west_2[each.key].vpc_id
  route_table_ids = module.us_west_2[each.key].route_table_ids
  peers           = { for name, peer in local.networks : name => peer if name != each.key }
  requested       = { for name, requests in local.asked : name => requests.connections }
}

module "us_west_2_alarms" {
  source    = "../alarms"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "us-west-2" }
  providers = { aws = aws.us_west_2 }

  environment = var.environment
  name        = each.key
  public      = module.us_west_2[each.key].public
  log_group   = module.us_west_2[each.key].logs["gateways"]
  namespace   = module.us_west_2[each.key].metrics.namespace
  kms_key_arn = module.us_west_2[each.key].kms_key_arn
  mail        = var.mail
}

module "sa_east_1" {
  source    = "../region"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "sa-east-1" }
  providers = { aws = aws.sa_east_1 }

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = { for name, peer in var.regions : name => { cidr = peer.cidr } if name != each.key }
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}

module "sa_east_1_requests" {
  source    = "../requests"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "sa-east-1" }
  providers = { aws = aws.sa_east_1 }

  name   = each.key
  vpc_id = module.sa_east_1[each.key].vpc_id
  peers  = { for name, peer in local.networks : name => peer if name != each.key }
}

module "sa_east_1_links" {
  source    = "../links"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "sa-east-1" }
  providers = { aws = aws.sa_east_1 }

  name            = each.key
  vpc_id          = module.sa_east_1[each.key].vpc_id
  route_table_ids = module.sa_east_1[each.key].route_table_ids
  peers           = { for name, peer in local.networks : name => peer if name != each.key }
  requested       = { for name, requests in local.asked : name => requests.connections }
}

module "sa_east_1_alarms" {
  source    = "../alarms"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "sa-east-1" }
  providers = { aws = aws.sa_east_1 }

  environment = var.environment
  name        = each.key
  public      = module.sa_east_1[each.key].public
  log_group   = module.sa_east_1[each.key].logs["gateways"]
  namespace   = module.sa_east_1[each.key].metrics.namespace
  kms_key_arn = module.sa_east_1[each.key].kms_key_arn
  mail        = var.mail
}

module "eu_west_1" {
  source    = "../region"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "eu-west-1" }
  providers = { aws = aws.eu_west_1 }

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = { for name, peer in var.regions : name => { cidr = peer.cidr } if name != each.key }
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}

module "eu_west_1_requests" {
  source    = "../requests"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "eu-west-1" }
  providers = { aws = aws.eu_west_1 }

  name   = each.key
  vpc_id = module.eu_west_1[each.key].vpc_id
  peers  = { for name, peer in local.networks : name => peer if name != each.key }
}

module "eu_west_1_links" {
  source    = "../links"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "eu-west-1" }
  providers = { aws = aws.eu_west_1 }

  name            = each.key
  vpc_id          = module.eu_west_1[each.key].vpc_id
  route_table_ids = module.eu_west_1[each.key].route_table_ids
  peers           = { for name, peer in local.networks : name => peer if name != each.key }
  requested       = { for name, requests in local.asked : name => requests.connections }
}

module "eu_west_1_alarms" {
  source    = "../alarms"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "eu-west-1" }
  providers = { aws = aws.eu_west_1 }

  environment = var.environment
  name        = each.key
  public      = module.eu_west_1[each.key].public
  log_group   = module.eu_west_1[each.key].logs["gateways"]
  namespace   = module.eu_west_1[each.key].metrics.namespace
  kms_key_arn = module.eu_west_1[each.key].kms_key_arn
  mail        = var.mail
}

module "eu_central_1" {
  source    = "../region"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "eu-central-1" }
  providers = { aws = aws.eu_central_1 }

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = { for name, peer in var.regions : name => { cidr = peer.cidr } if name != each.key }
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}

module "eu_central_1_requests" {
  source    = "../requests"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "eu-central-1" }
  providers = { aws = aws.eu_central_1 }

  name   = each.key
  vpc_id = module.eu_central_1[each.key].vpc_id
  peers  = { for name, peer in local.networks : name => peer if name != each.key }
}

module "eu_central_1_links" {
  source    = "../links"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "eu-central-1" }
  providers = { aws = aws.eu_central_1 }

  name            = each.key
  vpc_id          = module.eu_central_1[each.key].vpc_id
  route_table_ids = module.eu_central_1[each.key].route_table_ids
  peers           = { for name, peer in local.networks : name => peer if name != each.key }
  requested       = { for name, requests in local.asked : name => requests.connections }
}

module "eu_central_1_alarms" {
  source    = "../alarms"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "eu-central-1" }
  providers = { aws = aws.eu_central_1 }

  environment = var.environment
  name        = each.key
  public      = module.eu_central_1[each.key].public
  log_group   = module.eu_central_1[each.key].logs["gateways"]
  namespace   = module.eu_central_1[each.key].metrics.namespace
  kms_key_arn = module.eu_central_1[each.key].kms_key_arn
  mail        = var.mail
}

module "ap_south_1" {
  source    = "../region"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-south-1" }
  providers = { aws = aws.ap_south_1 }

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = { for name, peer in var.regions : name => { cidr = peer.cidr } if name != each.key }
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}

module "ap_south_1_requests" {
  source    = "../requests"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-south-1" }
  providers = { aws = aws.ap_south_1 }

  name   = each.key
  vpc_id = module.ap_south_1[each.key].vpc_id
  peers  = { for name, peer in local.networks : name => peer if name != each.key }
}

module "ap_south_1_links" {
  source    = "../links"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-south-1" }
  providers = { aws = aws.ap_south_1 }

  name            = each.key
  vpc_id          = module.ap_south_1[each.key].vpc_id
  route_table_ids = module.ap_south_1[each.key].route_table_ids
  peers           = { for name, peer in local.networks : name => peer if name != each.key }
  requested       = { for name, requests in local.asked : name => requests.connections }
}

module "ap_south_1_alarms" {
  source    = "../alarms"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-south-1" }
  providers = { aws = aws.ap_south_1 }

  environment = var.environment
  name        = each.key
  public      = module.ap_south_1[each.key].public
  log_group   = module.ap_south_1[each.key].logs["gateways"]
  namespace   = module.ap_south_1[each.key].metrics.namespace
  kms_key_arn = module.ap_south_1[each.key].kms_key_arn
  mail        = var.mail
}

module "ap_southeast_1" {
  source    = "../region"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-southeast-1" }
  providers = { aws = aws.ap_southeast_1 }

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = { for name, peer in var.regions : name => { cidr = peer.cidr } if name != each.key }
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}

module "ap_southeast_1_requests" {
  source    = "../requests"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-southeast-1" }
  providers = { aws = aws.ap_southeast_1 }

  name   = each.key
  vpc_id = module.ap_southeast_1[each.key].vpc_id
  peers  = { for name, peer in local.networks : name => peer if name != each.key }
}

module "ap_southeast_1_links" {
  source    = "../links"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-southeast-1" }
  providers = { aws = aws.ap_southeast_1 }

  name            = each.key
  vpc_id          = module.ap_southeast_1[each.key].vpc_id
  route_table_ids = module.ap_southeast_1[each.key].route_table_ids
  peers           = { for name, peer in local.networks : name => peer if name != each.key }
  requested       = { for name, requests in local.asked : name => requests.connections }
}

module "ap_southeast_1_alarms" {
  source    = "../alarms"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-southeast-1" }
  providers = { aws = aws.ap_southeast_1 }

  environment = var.environment
  name        = each.key
  public      = module.ap_southeast_1[each.key].public
  log_group   = module.ap_southeast_1[each.key].logs["gateways"]
  namespace   = module.ap_southeast_1[each.key].metrics.namespace
  kms_key_arn = module.ap_southeast_1[each.key].kms_key_arn
  mail        = var.mail
}

module "ap_northeast_1" {
  source    = "../region"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-northeast-1" }
  providers = { aws = aws.ap_northeast_1 }

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = { for name, peer in var.regions : name => { cidr = peer.cidr } if name != each.key }
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}

module "ap_northeast_1_requests" {
  source    = "../requests"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-northeast-1" }
  providers = { aws = aws.ap_northeast_1 }

  name   = each.key
  vpc_id = module.ap_northeast_1[each.key].vpc_id
  peers  = { for name, peer in local.networks : name => peer if name != each.key }
}

module "ap_northeast_1_links" {
  source    = "../links"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-northeast-1" }
  providers = { aws = aws.ap_northeast_1 }

  name            = each.key
  vpc_id          = module.ap_northeast_1[each.key].vpc_id
  route_table_ids = module.ap_northeast_1[each.key].route_table_ids
  peers           = { for name, peer in local.networks : name => peer if name != each.key }
  requested       = { for name, requests in local.asked : name => requests.connections }
}

module "ap_northeast_1_alarms" {
  source    = "../alarms"
  for_each  = { for name, region in var.regions : name => region if region.aws_region == "ap-northeast-1" }
  providers = { aws = aws.ap_northeast_1 }

  environment = var.environment
  name        = each.key
  public      = module.ap_northeast_1[each.key].public
  log_group   = module.ap_northeast_1[each.key].logs["gateways"]
  namespace   = module.ap_northeast_1[each.key].metrics.namespace
  kms_key_arn = module.ap_northeast_1[each.key].kms_key_arn
  mail        = var.mail
}
