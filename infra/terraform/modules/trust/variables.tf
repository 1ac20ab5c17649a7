variable "environment" {
  description = "Name of the deployment: part of the name of every secret."
  type        = string
}

variable "regions" {
  description = "Every region that runs: where a copy of each secret has to be, and the key that its machines can use."
  type = map(object({
    aws_region  = string
    kms_key_arn = string
  }))
}

variable "secrets_revision" {
  description = "Raised by one, the shared tokens and keys are made anew."
  type        = number
  default     = 1
}
