# Written by infra/terraform/aliases.py; add an AWS region there.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

# Where AWS keeps what belongs to no region: metrics of health checks, budgets.
provider "aws" {
  region     = "us-east-1"
  sts_region = "us-east-1"
  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias      = "us_east_1"
  region     = "us-east-1"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias      = "us_west_2"
  region     = "us-west-2"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias      = "sa_east_1"
  region     = "sa-east-1"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias      = "eu_west_1"
  region     = "eu-west-1"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias      = "eu_central_1"
  region     = "eu-central-1"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias      = "ap_south_1"
  region     = "ap-south-1"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias      = "ap_southeast_1"
  region     = "ap-southeast-1"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias      = "ap_northeast_1"
  region     = "ap-northeast-1"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {
    tags = local.tags
  }
}

module "atoll" {
  source = "../../modules/deployment"
  providers = {
    aws                = aws
    aws.us_east_1      = aws.us_east_1
    aws.us_west_2      = aws.us_west_2
    aws.sa_east_1      = aws.sa_east_1
    aws.eu_west_1      = aws.eu_west_1
    aws.eu_central_1   = aws.eu_central_1
    aws.ap_south_1     = aws.ap_south_1
    aws.ap_southeast_1 = aws.ap_southeast_1
    aws.ap_northeast_1 = aws.ap_northeast_1
  }

  environment   = local.environment
  regions       = local.regions
  public_zone   = var.public_zone
  public_domain = var.public_domain
  domain        = var.domain
  release       = var.release
  image         = var.image
  steering      = var.steering
  drained       = var.drained
  budget        = var.budget
  mail          = var.mail
  tags          = local.tags

  secrets_revision = var.secrets_revision
}
