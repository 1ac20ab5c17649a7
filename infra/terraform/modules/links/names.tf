# This region's machines can look up the peers' addresses.
resource "aws_route53_zone_association" "of" {
  for_each = var.peers

  zone_id = each.value.zone_id
  vpc_id  = var.vpc_id
}
