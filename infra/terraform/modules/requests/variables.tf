variable "name" {
  description = "Of this region."
  type        = string
}

variable "vpc_id" {
  description = "This region's network."
  type        = string
}

variable "peers" {
  description = "Every other region."
  type = map(object({
    aws_region = string # such as eu-west-1
    vpc_id     = string
  }))
}
