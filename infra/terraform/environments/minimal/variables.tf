# What an environment is told from outside; each is checked and described at length in modules/deployment.

variable "public_zone" {
  description = "Name of the public Route 53 zone that the public domain lies in; it is there already."
  type        = string
}

variable "public_domain" {
  description = "What clients ask for, in that zone."
  type        = string
}

variable "domain" {
  description = "Domain of the private names."
  type        = string
  default     = "atoll.internal"
}

variable "release" {
  description = "The Atoll that machines install: version, and hash of its requirements.txt."
  type = object({
    version             = string
    requirements_sha256 = string
    index_url           = optional(string)
  })
}

variable "image" {
  description = "The machine image by its full name, and its owner, if it is not the one that modules/region names."
  type = object({
    owner = optional(string)
    name  = optional(string)
  })
  default = {}
}

variable "steering" {
  description = "How clients come to a region: latency, geoproximity or accelerator."
  type        = string
  default     = "latency"
}

variable "budget" {
  description = "US dollars a month."
  type        = number
}

variable "mail" {
  description = "Addresses that are told of alarms and of the budget."
  type        = set(string)
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
