# Three tiers in each availability zone. Public: load balancer and NAT. Edge: gateways, inner load balancer, and the state
# machine with the agent: what other regions talk to. Inner: Ray and the cache, without a route to any other region.

data "aws_availability_zones" "here" {
  # checkov:skip=CKV_AWS_394: only the first ones by name are taken, and a zone that is added gets a later letter
  state            = "available"
  exclude_zone_ids = ["use1-az3"] # too old for most types of instance

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }

  lifecycle {
    postcondition {
      condition     = length(self.names) >= var.region.availability_zones
      error_message = "${var.region.aws_region} has ${length(self.names)} availability zones for this account, ${var.name} asks for ${var.region.availability_zones}: lower its availability_zones."
    }
  }
}

locals {
  # Zones by number, since numbers are the same in every region.
  zones     = { for number, name in slice(sort(data.aws_availability_zones.here.names), 0, var.region.availability_zones) : tostring(number) => name }
  home      = "0" # the zone of what keeps a volume
  nat_zones = { none = {}, one = { "0" = local.zones["0"] }, each = local.zones }[var.region.nat]

  linked_cidr  = cidrsubnet(var.region.cidr, 4, 1) # the edge tier as a whole
  public_cidrs = { for zone, _ in local.zones : zone => cidrsubnet(var.region.cidr, 8, tonumber(zone)) }
  edge_cidrs   = { for zone, _ in local.zones : zone => cidrsubnet(local.linked_cidr, 4, tonumber(zone)) }
  inner_cidrs  = { for zone, _ in local.zones : zone => cidrsubnet(var.region.cidr, 4, 4 + tonumber(zone)) }
}

resource "aws_vpc" "this" {
  cidr_block           = var.region.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = local.full_name }
}

# What belongs to no group of ours reaches nothing.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = local.full_name }
}

resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = local.public_cidrs[each.key]
  tags              = { Name = "${local.full_name}-public-${each.key}" }
}

resource "aws_subnet" "edge" {
  for_each = local.zones

  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = local.edge_cidrs[each.key]
  tags              = { Name = "${local.full_name}-edge-${each.key}" }
}

resource "aws_subnet" "inner" {
  for_each = local.zones

  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = local.inner_cidrs[each.key]
  tags              = { Name = "${local.full_name}-inner-${each.key}" }
}

resource "aws_eip" "nat" {
  for_each = local.nat_zones

  domain = "vpc"
  tags   = { Name = "${local.full_name}-nat-${each.key}" }
}

resource "aws_nat_gateway" "this" {
  for_each = local.nat_zones

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id
  tags          = { Name = "${local.full_name}-${each.key}" }
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.full_name}-public" }
}

resource "aws_route_table" "edge" {
  for_each = local.zones

  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.full_name}-edge-${each.key}" }
}

resource "aws_route_table" "inner" {
  for_each = local.zones

  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.full_name}-inner-${each.key}" }
}

resource "aws_route_table_association" "public" {
  for_each = local.zones

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table_association" "edge" {
  for_each = local.zones

  subnet_id      = aws_subnet.edge[each.key].id
  route_table_id = aws_route_table.edge[each.key].id
}

resource "aws_route_table_association" "inner" {
  for_each = local.zones

  subnet_id      = aws_subnet.inner[each.key].id
  route_table_id = aws_route_table.inner[each.key].id
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route" "nat" {
  for_each = length(local.nat_zones) == 0 ? {} : merge(
    { for zone, table in aws_route_table.edge : "edge-${zone}" => { zone = zone, table = table.id } },
    { for zone, table in aws_route_table.inner : "inner-${zone}" => { zone = zone, table = table.id } },
  )

  route_table_id         = each.value.table
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[contains(keys(local.nat_zones), each.value.zone) ? each.value.zone : local.home].id
}
