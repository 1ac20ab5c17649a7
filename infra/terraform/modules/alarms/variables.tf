variable "environment" {
  description = "Name of the deployment."
  type        = string
}

variable "name" {
  description = "Of this region."
  type        = string
}

variable "public" {
  description = "The public load balancer, as CloudWatch names it."
  type = object({
    load_balancer = string
    target_group  = string
  })
}

variable "log_group" {
  description = "Where gateways' access logs are shipped."
  type        = string
}

variable "namespace" {
  description = "Of the metrics that this region's machines ship."
  type        = string
}

variable "kms_key_arn" {
  description = "The region's key; it lets CloudWatch publish to a topic that it encrypts."
  type        = string
}

variable "mail" {
  description = "Addresses that are told."
  type        = set(string)
}

variable "limits" {
  description = "From where on a region is unwell: errors in percent of requests, 99th percentile of their time, staleness of peers' state, disks' fill, days that its certificate lasts."
  type = object({
    errors_percent   = optional(number, 1)
    p99_ms           = optional(number, 2000)
    staleness_s      = optional(number, 30)
    disk_percent     = optional(number, 80)
    certificate_days = optional(number, 14)
  })
  default  = {}
  nullable = false
}
