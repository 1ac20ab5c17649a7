# Production: three regions on three continents, each of which carries on with any one of the others gone.
#
# To add a region, add an entry; to remove one, take it out (infra/runbooks say what to do before and after).

locals {
  environment = "production"
  tags        = { atoll = local.environment }

  regions = {
    us-east = {
      aws_region = "us-east-1"
      title      = "Virginia"
      latitude   = 38.95
      longitude  = -77.45
      zone       = "us"
      cidr       = "10.1.0.0/16"
    }
    eu-west = {
      aws_region = "eu-west-1"
      title      = "Ireland"
      latitude   = 53.35
      longitude  = -6.26
      zone       = "eu"
      cidr       = "10.2.0.0/16"
    }
    ap-northeast = {
      aws_region = "ap-northeast-1"
      title      = "Tokyo"
      latitude   = 35.68
      longitude  = 139.69
      zone       = "apac"
      cidr       = "10.3.0.0/16"
    }
  }
}
