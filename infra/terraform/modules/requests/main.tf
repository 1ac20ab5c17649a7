# One peering connection for each pair of regions. Of two names the first in the alphabet asks here, the other accepts in
# its links. A module of its own, because a region's links wait for all that its peers ask for.
#
# Peering and not a transit gateway: pairs of up to twenty regions stay far below the 125 connections that a network may
# have, it costs nothing but traffic, and it has no attachment that two pairs share and could fail with.

resource "aws_vpc_peering_connection" "to" {
  for_each = { for name, peer in var.peers : name => peer if sort([var.name, name])[0] == var.name }

  vpc_id      = var.vpc_id
  peer_vpc_id = each.value.vpc_id
  peer_region = each.value.aws_region

  tags = { Name = "${var.name}-${each.key}" }
}
