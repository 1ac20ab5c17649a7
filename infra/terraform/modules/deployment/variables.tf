variable "environment" {
  description = "Name of the deployment, such as production: part of the name of everything."
  type        = string
}

variable "regions" {
  description = <<-TEXT
    The regions by name. What is left out is as modules/region has it, where each setting is described. A region is added
    or removed by its entry here.
  TEXT
  type = map(object({
    aws_region         = string # such as eu-west-1
    title              = string # for people: Ireland
    latitude           = number
    longitude          = number
    zone               = string # of residency: eu
    cidr               = string # a /16 that no other region has
    availability_zones = optional(number)
    nat                = optional(string)
    endpoints          = optional(set(string))
    head               = optional(object({ instance_type = optional(string), volume_gib = optional(number) }))
    workers = optional(object({
      instance_types = optional(list(string))
      minimum        = optional(number)
      maximum        = optional(number)
      on_demand_base = optional(number)
      spot_percent   = optional(number)
    }))
    gateways = optional(object({ instance_type = optional(string), minimum = optional(number), maximum = optional(number) }))
    state    = optional(object({ instance_type = optional(string), volume_gib = optional(number) }))
    cache    = optional(object({ managed = optional(bool), node_type = optional(string), nodes = optional(number) }))
  }))

  validation {
    condition     = length(var.regions) > 0
    error_message = "At least one region is needed."
  }

  validation {
    condition     = alltrue([for region in var.regions : contains(local.aws_regions, region.aws_region)])
    error_message = <<-TEXT
      No provider speaks to ${join(", ", setsubtract([for region in var.regions : region.aws_region], local.aws_regions))}.
      Add it to the list in infra/terraform/aliases.py, run that, then terraform init. There are: ${join(", ", local.aws_regions)}.
    TEXT
  }

  validation {
    condition     = length(distinct([for region in var.regions : region.aws_region])) == length(var.regions)
    error_message = "Two regions stand in the same AWS region: they would be lost together."
  }

  validation {
    condition     = length(distinct([for region in var.regions : region.cidr])) == length(var.regions)
    error_message = "Two regions have the same cidr: networks that are linked need addresses of their own."
  }
}

variable "public_zone" {
  description = "Name of the public Route 53 zone that the public domain lies in; it is there already."
  type        = string
}

variable "public_domain" {
  description = "What clients ask for; each region is REGION.PUBLIC_DOMAIN besides. Only Amazon's authority may sign for it and for names below it."
  type        = string

  validation {
    condition     = var.public_domain == var.public_zone || endswith(var.public_domain, ".${var.public_zone}")
    error_message = "${var.public_domain} does not lie in the zone ${var.public_zone}."
  }
}

variable "domain" {
  description = "Domain of the private names: REGION.DOMAIN is a region's private zone."
  type        = string
  default     = "atoll.internal"
}

variable "release" {
  description = "The Atoll that machines install: its version, and the hash of its requirements.txt (infra/machines/release.sh prints both)."
  type = object({
    version             = string
    requirements_sha256 = string
    index_url           = optional(string)
  })
}

variable "image" {
  description = "The machine image; what is left out is as modules/region has it."
  type = object({
    owner = optional(string)
    name  = optional(string)
  })
  default = {}
}

variable "steering" {
  description = "How clients come to a region: latency, geoproximity or accelerator; modules/global says more."
  type        = string
  default     = "latency"
}

variable "budget" {
  description = "US dollars a month; mail tells before and when they are passed."
  type        = number
}

variable "mail" {
  description = "Addresses that are told of alarms and of the budget."
  type        = set(string)
}

variable "tags" {
  description = "Tags of everything; machines' groups need them told."
  type        = map(string)
  default     = {}
}

variable "secrets_revision" {
  description = "Raised by one, every token and password that Terraform gives is made anew."
  type        = number
  default     = 1
}

variable "drained" {
  description = "Regions to which no client is steered for now."
  type        = set(string)
  default     = []
}
