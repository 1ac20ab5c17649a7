# Who may talk to whom. A flow is one line of the list: it becomes a rule at its source and one at its end. Nothing else
# is open.

locals {
  # AWS takes no apostrophe in what describes a group or a rule.
  groups = merge({
    public-lb = "Load balancer for clients"
    inner-lb  = "Load balancer for the own services and for gateways of other regions"
    gateways  = "Gateways"
    head      = "Ray head"
    workers   = "Ray workers"
    state     = "State store and agent"
    endpoints = "Private endpoints of AWS services"
  }, var.region.cache.managed ? { cache = "Managed cache" } : {})

  single = { for name, port in local.ports : name => [port, port] }
  https  = [443, 443]
  # Replicas, which gateways ask without a way around.
  ingress = [30000, 30999]
  # Ray among its nodes: GCS, Serve and its gRPC, the agents and managers of a node, workers, replicas, and a gRPC port
  # of each replica that Ray takes from the ephemeral ones.
  ray = [[6381, 6381], local.single.serve, [8265, 8272], [9000, 9000], [10002, 19999], [30000, 31999], [32768, 60999]]
  # What an SDK in a replica talks to.
  replica_targets = {
    state    = [local.single.state, local.single.agent]
    inner-lb = [local.single.public]
  }
  cache_group = var.region.cache.managed ? "cache" : "state"

  flows = concat(
    [
      { from = "public-lb", to = "gateways", ports = [local.single.public] },
      { from = "inner-lb", to = "gateways", ports = [local.single.peer, local.single.public] },
      { from = "gateways", to = "head", ports = [local.single.dashboard, local.single.serve, local.ingress] },
      { from = "gateways", to = "workers", ports = [local.ingress] },
      { from = "gateways", to = "state", ports = [local.single.state] },
      { from = "state", to = "head", ports = [local.single.dashboard, local.single.serve] },
      { from = "head", to = "workers", ports = local.ray },
      { from = "workers", to = "head", ports = local.ray },
      { from = "workers", to = "workers", ports = local.ray },
    ],
    [for from in ["head", "state"] : { from = from, to = "gateways", ports = [local.single.admin] }],
    [for pair in setproduct(["head", "workers"], keys(local.replica_targets)) : {
      from = pair[0], to = pair[1], ports = local.replica_targets[pair[1]]
    }],
    [for from in setsubtract(keys(local.machines), [local.cache_group]) : {
      from = from, to = local.cache_group, ports = [local.single.cache]
    }],
    [for from in keys(local.machines) : { from = from, to = "endpoints", ports = [local.https] }],
  )
  rules = merge([for flow in local.flows : {
    for ports in flow.ports : "${flow.from}-${flow.to}-${ports[0]}" => { from = flow.from, to = flow.to, ports = ports }
  }]...)

  # What other regions reach here, and the own machines there.
  peer_rules = merge([for name, peer in var.peers : {
    "gateways-${name}" = { from = "gateways", to = "inner-lb", port = local.ports.peer, cidr = cidrsubnet(peer.cidr, 4, 1) }
    "agents-${name}"   = { from = "state", to = "state", port = local.ports.agent, cidr = cidrsubnet(peer.cidr, 4, 1) }
  }]...)
}

resource "aws_security_group" "this" {
  for_each = local.groups

  name        = "${local.full_name}-${each.key}"
  description = each.value
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${local.full_name}-${each.key}" }
}

resource "aws_vpc_security_group_ingress_rule" "flow" {
  for_each = local.rules

  description                  = "From ${each.value.from}"
  security_group_id            = aws_security_group.this[each.value.to].id
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.ports[0]
  to_port                      = each.value.ports[1]
}

resource "aws_vpc_security_group_egress_rule" "flow" {
  for_each = local.rules

  description                  = "To ${each.value.to}"
  security_group_id            = aws_security_group.this[each.value.from].id
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.ports[0]
  to_port                      = each.value.ports[1]
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  description       = "Clients"
  security_group_id = aws_security_group.this["public-lb"].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "peer" {
  for_each = local.peer_rules

  description       = "From another region: ${each.key}"
  security_group_id = aws_security_group.this[each.value.to].id
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "peer" {
  for_each = local.peer_rules

  description       = "To another region: ${each.key}"
  security_group_id = aws_security_group.this[each.value.from].id
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each = local.machines

  description       = "S3, through its endpoint"
  security_group_id = aws_security_group.this[each.key].id
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# AWS services without a private endpoint here (Route 53 has none), and a package index if one is set.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = local.machines

  description       = "AWS services without a private endpoint"
  security_group_id = aws_security_group.this[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
