# Private names of the region. Links associate the zone with other regions' networks; a machine that keeps something
# writes its own name when it starts.

resource "aws_route53_zone" "private" {
  # checkov:skip=CKV2_AWS_38: DNSSEC is for public zones
  # checkov:skip=CKV2_AWS_39: a private zone has no query log of its own
  name    = local.zone_name
  comment = "Atoll ${var.name}"

  vpc {
    vpc_id     = aws_vpc.this.id
    vpc_region = var.region.aws_region
  }

  # Machines' records go with the zone.
  force_destroy = true

  lifecycle {
    ignore_changes = [vpc]
  }
}

resource "aws_route53_record" "gateways" {
  zone_id = aws_route53_zone.private.zone_id
  name    = "gateways.${local.zone_name}"
  type    = "A"

  alias {
    name                   = aws_lb.inner.dns_name
    zone_id                = aws_lb.inner.zone_id
    evaluate_target_health = false # a name that vanishes would hide from peers what is wrong
  }
}
