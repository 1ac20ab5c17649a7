# A region's end of its connections: it accepts what others asked for, and has a route to each peer.

resource "aws_vpc_peering_connection_accepter" "from" {
  for_each = { for name, asked in var.requested : name => asked[var.name] if contains(keys(asked), var.name) }

  vpc_peering_connection_id = each.value
  auto_accept               = true

  tags = { Name = "${each.key}-${var.name}" }
}

locals {
  connections = merge(
    var.requested[var.name],
    { for name, connection in aws_vpc_peering_connection_accepter.from : name => connection.id },
  )

  routes = merge([
    for table, id in var.route_table_ids : {
      for name, peer in var.peers : "${table}/${name}" => { table = id, peer = name, cidr = peer.cidr }
    }
  ]...)
}

# Only to what talks to other regions there. What may use the way is the security groups' matter: gateways' peer listeners
# and agents, nothing else.
resource "aws_route" "to" {
  for_each = local.routes

  route_table_id            = each.value.table
  destination_cidr_block    = each.value.cidr
  vpc_peering_connection_id = local.connections[each.value.peer]
}
