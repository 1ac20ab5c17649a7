variable "environment" {
  description = "Name of the deployment, such as production: part of every name here."
  type        = string
}

variable "zone_id" {
  description = "The public Route 53 zone."
  type        = string
}

variable "public_domain" {
  description = "What clients ask for."
  type        = string
}

variable "regions" {
  description = "Every region, as the map has it: nothing that would have to be asked of the region itself."
  type = map(object({
    aws_region = string
  }))

  validation {
    condition     = contains(range(1, 11), length(var.regions))
    error_message = "There are 1 to 10 regions: an alarm looks at no more than ten health checks."
  }
}

variable "load_balancers" {
  description = "The public load balancer of every region."
  type = map(object({
    dns_name = string
    zone_id  = string
    arn      = string
  }))
}

variable "steering" {
  description = <<-TEXT
    How clients come to a region: "latency" (by what Route 53 has measured between networks and AWS regions),
    "geoproximity" (by distance, pulled by `bias`), "accelerator" (one anycast address through Global Accelerator: moves
    clients in seconds whatever they cache, at a price, and gateways no longer see clients' addresses: not for services
    whose residency goes by them).
  TEXT
  type        = string
  default     = "latency"
  nullable    = false

  validation {
    condition     = contains(["latency", "geoproximity", "accelerator"], var.steering)
    error_message = "steering is one of latency, geoproximity, accelerator."
  }
}

variable "bias" {
  description = "With geoproximity: how far a region reaches beyond its place, -99 to 99; 0 where it is not named."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for bias in values(var.bias) : bias >= -99 && bias <= 99])
    error_message = "A bias is from -99 to 99."
  }

  validation {
    condition     = length(setsubtract(keys(var.bias), keys(var.regions))) == 0
    error_message = "A bias names a region that is not there: ${join(", ", setsubtract(keys(var.bias), keys(var.regions)))}."
  }
}

variable "drained" {
  description = "Regions to which no client is steered for now; they go on serving what still comes."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(setsubtract(var.drained, keys(var.regions))) == 0
    error_message = "A drained region is not there: ${join(", ", setsubtract(var.drained, keys(var.regions)))}."
  }

  validation {
    condition     = length(setsubtract(keys(var.regions), var.drained)) > 0
    error_message = "All regions are drained: none would be left to steer to."
  }
}

variable "health" {
  description = "Seconds between the questions of one checker (10 or 30), and how many wrong answers in a row take a region out."
  type = object({
    interval_s = optional(number, 10)
    failures   = optional(number, 3)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains([10, 30], var.health.interval_s)
    error_message = "Route 53 asks every 10 or every 30 seconds."
  }

  validation {
    condition     = var.health.failures >= 1 && var.health.failures <= 10
    error_message = "From 1 to 10 failures."
  }
}

variable "budget" {
  description = "What the deployment may cost a month, in US dollars; told at half of it, when it is foreseen to pass it, and when it has."
  type        = number

  validation {
    condition     = var.budget > 0
    error_message = "The budget is more than nothing."
  }
}

variable "mail" {
  description = "Addresses that are told of alarms and of the budget."
  type        = set(string)

  validation {
    condition     = length(var.mail) > 0 && alltrue([for address in var.mail : can(regex("^[^@ ]+@[^@ ]+[.][^@ ]+$", address))])
    error_message = "At least one mail address is needed, and each must be one."
  }
}
