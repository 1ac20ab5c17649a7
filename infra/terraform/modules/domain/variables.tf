variable "zone" {
  description = "Name of the public Route 53 zone that the public domain lies in. It is there before: a registrar delegates to it."
  type        = string
}

variable "public_domain" {
  description = "What clients ask for, such as shop.example.com; each region is REGION.shop.example.com besides."
  type        = string
}
