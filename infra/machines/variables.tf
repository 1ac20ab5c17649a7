variable "machine" {
  description = "Kind of machine: head, workers, gateways, state."
  type        = string
}

variable "region" {
  description = "The region's name in the topology."
  type        = string
}

variable "domain" {
  description = "Domain of the private names, under which certificates are issued."
  type        = string
}

variable "aws_region" {
  description = "Where the machine must be."
  type        = string
}

variable "group" {
  description = "Auto Scaling group of the machine."
  type        = string
}

variable "roles" {
  description = "What `atoll node` runs here."
  type        = list(string)

  validation {
    condition     = length(setsubtract(var.roles, ["head", "gcs-store", "worker", "gateway", "state", "agent", "cache"])) == 0
    error_message = "Roles are head, gcs-store, worker, gateway, state, agent and cache."
  }
}

variable "drain_s" {
  description = "How long the machine may drain before it ends; 0: it has nothing to drain."
  type        = number
}

variable "release" {
  description = "The pinned Atoll: releases/VERSION/requirements.txt in the bucket, by its hash; wheels beside it, or from an index."
  type = object({
    bucket              = string
    version             = string
    requirements_sha256 = string
    index_url           = optional(string)
    free_mib            = optional(number, 3072)
  })
}

variable "secrets" {
  description = "Kind of secret => its name in Secrets Manager."
  type        = map(string)
}

variable "zone_id" {
  description = "Private zone of the machine's own names."
  type        = string
}

variable "names" {
  description = "Names that the machine points at itself."
  type        = list(string)
}

variable "volume" {
  description = "Volume that the machine attaches and mounts; null: it keeps nothing."
  type        = string
  default     = null
}

variable "volume_wait_s" {
  description = "How long the machine before this one may take to let go of the volume."
  type        = number
  default     = 600
}

variable "log_group" {
  description = "Where its logs go."
  type        = string
}

variable "metrics" {
  description = "Namespace of its figures."
  type        = string
}

variable "user" {
  description = "Who runs the roles and owns their files."
  type        = string
  default     = "atoll"
}

variable "python" {
  description = "Python that the release is installed with."
  type        = string
  default     = "python3.12"
}
