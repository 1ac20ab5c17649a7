variable "name" {
  description = "Of this region."
  type        = string
}

variable "vpc_id" {
  description = "This region's network."
  type        = string
}

variable "route_table_ids" {
  description = "Tables of this region's subnets whose machines talk to peers, by a name that is known before they are made."
  type        = map(string)
}

variable "peers" {
  description = "Every other region."
  type = map(object({
    cidr    = string # of what talks to other regions: gateways and agents
    zone_id = string # its private zone, in which its addresses are
  }))
}

variable "requested" {
  description = "Connections that were asked for: region that asked => region that was asked => connection."
  type        = map(map(string))
}
