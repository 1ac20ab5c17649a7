variable "environment" {
  description = "Which deployment this is, for names and tags: production, staging."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.environment))
    error_message = "An environment is named by 2 to 10 small letters and digits, a letter first: load balancers' names have 32 places."
  }
  validation {
    condition     = var.environment != "internal"
    error_message = "AWS keeps the name internal for itself: no load balancer's name may begin with internal-."
  }
}

variable "name" {
  description = "The region's name in Atoll's topology: eu-west."
  type        = string

  validation {
    condition     = length(var.name) <= 14 && can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.name))
    error_message = "A region is named as in the topology, here by up to 14 small letters, digits and single hyphens, a letter first: ap-southeast-2."
  }
}

variable "domain" {
  description = "Domain of the private names; this region's zone is NAME.DOMAIN: eu-west.atoll.internal."
  type        = string
  default     = "atoll.internal"

  validation {
    condition     = can(regex("^([a-z0-9][a-z0-9-]*\\.)+[a-z]{2,}$", var.domain))
    error_message = "A private domain has at least two labels and no dot at its end: atoll.internal."
  }
}

variable "public_domain" {
  description = "Domain that clients use; the region itself is https://NAME.PUBLIC_DOMAIN."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9][a-z0-9-]*\\.)+[a-z]{2,}$", var.public_domain))
    error_message = "A public domain has at least two labels and no dot at its end: shop.example.com."
  }
}

variable "region" {
  description = <<-EOT
    The region as in the environment's map. Place and zone of residency are for the topology; `cidr` is a /16 that no
    other region has; `nat` is how private machines reach what has no private endpoint: one gateway, one in each zone,
    or none, where the operator routes it; `endpoints` are AWS services reached privately, S3 excepted, which always is.
    Workers are all of one processor architecture; `on_demand_base` of
    them, and of those above it all but `spot_percent`, are on demand. With `cache.managed`, ElastiCache; without,
    Atoll's own on the state machine.
  EOT
  type = object({
    aws_region         = string
    title              = string
    latitude           = number
    longitude          = number
    zone               = string
    cidr               = string
    availability_zones = optional(number, 2)
    nat                = optional(string, "each")
    endpoints          = optional(set(string), ["autoscaling", "ec2", "logs", "monitoring", "secretsmanager", "ssm", "ssmmessages"])
    head = optional(object({
      instance_type = optional(string, "m7g.large")
      volume_gib    = optional(number, 10)
    }), {})
    workers = optional(object({
      instance_types = optional(list(string), ["c7g.xlarge", "c6g.xlarge", "m7g.xlarge", "m6g.xlarge"])
      minimum        = optional(number, 2)
      maximum        = optional(number, 12)
      on_demand_base = optional(number, 1)
      spot_percent   = optional(number, 75)
    }), {})
    gateways = optional(object({
      instance_type = optional(string, "c7g.large")
      minimum       = optional(number, 2)
      maximum       = optional(number, 6)
    }), {})
    state = optional(object({
      instance_type = optional(string, "r7g.large")
      volume_gib    = optional(number, 50)
    }), {})
    cache = optional(object({
      managed   = optional(bool, true)
      node_type = optional(string, "cache.t4g.small")
      nodes     = optional(number, 2)
    }), {})
  })

  validation {
    condition     = abs(var.region.latitude) <= 90 && abs(var.region.longitude) <= 180
    error_message = "Latitude lies between -90 and 90 degrees, longitude between -180 and 180."
  }
  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.0\\.0/16$", var.region.cidr)) && can(cidrhost(var.region.cidr, 0))
    error_message = "A region's addresses are an IPv4 /16 by its first address, such as 10.1.0.0/16."
  }
  validation {
    condition     = contains(range(2, 5), var.region.availability_zones)
    error_message = "A region stands in 2, 3 or 4 availability zones: one alone would fail as a whole."
  }
  validation {
    condition     = contains(["none", "one", "each"], var.region.nat)
    error_message = "nat is none, one (a gateway in the first zone), or each (one in each zone)."
  }
  validation {
    condition = (
      var.region.workers.minimum >= 1 && var.region.workers.maximum >= var.region.workers.minimum
      && length(var.region.workers.instance_types) >= 1
    )
    error_message = "A region has at least one worker, at most as many as its maximum, and at least one type of instance for them."
  }
  validation {
    condition     = var.region.workers.on_demand_base >= 0 && var.region.workers.spot_percent >= 0 && var.region.workers.spot_percent <= 100
    error_message = "on_demand_base is a number of workers, spot_percent the share in percent, 0 to 100, of the others."
  }
  validation {
    condition     = var.region.workers.spot_percent == 0 || length(var.region.workers.instance_types) >= 3
    error_message = "Spot workers need at least 3 types of instance: with fewer, one market that runs dry takes them all at once."
  }
  validation {
    condition     = length(distinct([for type in var.region.workers.instance_types : can(regex("^[a-z]+[0-9]+g", type))])) == 1
    error_message = "Workers are all of one processor architecture: Graviton's types (m7g, c6gn) or the others, not both."
  }
  validation {
    condition     = var.region.gateways.minimum >= 2 && var.region.gateways.maximum >= var.region.gateways.minimum
    error_message = "A region has at least two gateways, and at most as many as its maximum."
  }
  validation {
    condition     = min(var.region.head.volume_gib, var.region.state.volume_gib) >= 4
    error_message = "A volume has at least 4 GiB."
  }
  validation {
    condition     = contains(range(1, 7), var.region.cache.nodes)
    error_message = "A cache has 1 to 6 nodes."
  }
}

variable "peers" {
  description = "The other regions, by name: only what the security groups must know of them. Their links are made elsewhere."
  type        = map(object({ cidr = string }))
  default     = {}

  validation {
    condition     = alltrue([for peer in var.peers : can(regex("^[0-9]+\\.[0-9]+\\.0\\.0/16$", peer.cidr)) && can(cidrhost(peer.cidr, 0))])
    error_message = "A peer's addresses are an IPv4 /16 by its first address, such as 10.2.0.0/16."
  }
  validation {
    condition     = !contains(keys(var.peers), var.name)
    error_message = "A region is no peer of its own."
  }
  validation {
    condition     = length(distinct(concat([var.region.cidr], values(var.peers)[*].cidr))) == length(var.peers) + 1
    error_message = "Each region needs addresses of its own: two have the same cidr."
  }
}

variable "release" {
  description = <<-EOT
    The pinned Atoll that machines install. In the region's config bucket, under releases/VERSION/, lies
    requirements.txt, which names every distribution with its hash; its own hash, `requirements_sha256`, pins them all.
    Wheels lie beside it, or come from `index_url`.
  EOT
  type = object({
    version             = string
    requirements_sha256 = string
    index_url           = optional(string)
  })

  validation {
    condition     = can(regex("^[0-9]+(\\.[0-9]+)*([a-z0-9.+-]*)$", var.release.version))
    error_message = "A release is named by its version: 0.6.0."
  }
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.release.requirements_sha256))
    error_message = "requirements_sha256 is what `sha256sum requirements.txt` prints: 64 hexadecimal digits."
  }
  validation {
    condition     = var.release.index_url == null || can(regex("^https://[^@ ]+$", var.release.index_url))
    error_message = "index_url is an https:// address without a user or password."
  }
}

variable "image" {
  description = "The machine image by its full name, so that it is the same everywhere and until it is changed here; `{arch}` is arm64 or x86_64."
  type = object({
    owner = optional(string, "amazon")
    name  = optional(string, "al2023-ami-2023.12.20261021.0-kernel-6.12-{arch}")
  })
  default = {}

  validation {
    condition     = !can(regex("[*?]", var.image.name))
    error_message = "An image is named in full: with * or ? another one could be taken tomorrow."
  }
}

variable "secrets_revision" {
  description = "Raised by one, the region's own passwords and tokens are made anew; machines fetch them within 15 minutes."
  type        = number
  default     = 1

  validation {
    condition     = var.secrets_revision >= 1 && floor(var.secrets_revision) == var.secrets_revision
    error_message = "A revision is a whole number from 1."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731 days."
  }
}

variable "tags" {
  description = "Tags of what machines' groups make while they run, which a provider's default tags don't reach."
  type        = map(string)
  default     = {}
}
