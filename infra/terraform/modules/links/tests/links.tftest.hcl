# A region accepts what it was asked for, and has a way to each peer whoever asked.

mock_provider "aws" {}

variables {
  name            = "eu-west"
  vpc_id          = "vpc-1"
  route_table_ids = { "0" = "rtb-0", "1" = "rtb-1" }
  peers = {
    ap-northeast = { cidr = "10.3.16.0/20", zone_id = "Z3" }
    us-east      = { cidr = "10.1.16.0/20", zone_id = "Z1" }
  }
  requested = {
    ap-northeast = { eu-west = "pcx-a", us-east = "pcx-b" }
    eu-west      = { us-east = "pcx-c" }
    us-east      = {}
  }
}

run "both_ends" {
  assert {
    condition     = keys(aws_vpc_peering_connection_accepter.from) == ["ap-northeast"]
    error_message = "It accepts the one connection that it was asked for."
  }
  assert {
    condition     = keys(aws_route.to) == ["0/ap-northeast", "0/us-east", "1/ap-northeast", "1/us-east"]
    error_message = "Each table has a way to each peer."
  }
  assert {
    condition     = aws_route.to["0/us-east"].vpc_peering_connection_id == "pcx-c"
    error_message = "Over the connection that it asked for itself."
  }
  assert {
    condition     = length(aws_route53_zone_association.of) == 2
    error_message = "It can look up each peer's addresses."
  }
}
