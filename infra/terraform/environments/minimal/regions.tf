# Minimal: the cheapest that still survives the loss of a region, on two continents: the smallest machines, all workers
# on spot, the cache on the state machine, one way out.

locals {
  environment = "minimal"
  tags        = { atoll = local.environment }

  small = {
    availability_zones = 2
    nat                = "one"
    endpoints          = [] # through the way out: an endpoint costs more than what these few machines send
    head               = { instance_type = "t4g.medium", volume_gib = 8 }
    workers = {
      instance_types = ["t4g.large", "m6g.large", "m7g.large", "c6g.large"]
      minimum        = 1
      maximum        = 2
      on_demand_base = 0
      spot_percent   = 100
    }
    gateways = { instance_type = "t4g.small", minimum = 2, maximum = 2 }
    state    = { instance_type = "t4g.small", volume_gib = 8 }
    cache    = { managed = false }
  }

  regions = {
    us-east = merge(local.small, {
      aws_region = "us-east-1"
      title      = "Virginia"
      latitude   = 38.95
      longitude  = -77.45
      zone       = "us"
      cidr       = "10.1.0.0/16"
    })
    eu-west = merge(local.small, {
      aws_region = "eu-west-1"
      title      = "Ireland"
      latitude   = 53.35
      longitude  = -6.26
      zone       = "eu"
      cidr       = "10.2.0.0/16"
    })
  }
}
