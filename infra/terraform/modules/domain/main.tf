# The public name, before any region: its zone, and the record that proves to ACM that the name is ours.
#
# A load balancer takes a certificate of its own region only, so each region asks for one. ACM wants the same record for
# the same name in every region of an account, wildcard included: it is made once, here, so that no region's coming or
# going touches a record that another region's renewal needs.

data "aws_route53_zone" "public" {
  name         = var.zone
  private_zone = false
}

resource "aws_acm_certificate" "name" {
  domain_name               = var.public_domain
  subject_alternative_names = ["*.${var.public_domain}"]
  validation_method         = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  proofs = { for proof in aws_acm_certificate.name.domain_validation_options : proof.domain_name => proof }
}

resource "aws_route53_record" "proof" {
  zone_id = data.aws_route53_zone.public.zone_id
  name    = local.proofs[var.public_domain].resource_record_name
  type    = local.proofs[var.public_domain].resource_record_type
  records = [local.proofs[var.public_domain].resource_record_value]
  ttl     = 300
}

# Regions that ask next find the record answered.
resource "aws_acm_certificate_validation" "name" {
  certificate_arn         = aws_acm_certificate.name.arn
  validation_record_fqdns = [aws_route53_record.proof.fqdn]
}

# Nobody else's authority may sign for the name.
resource "aws_route53_record" "authority" {
  zone_id = data.aws_route53_zone.public.zone_id
  name    = var.public_domain
  type    = "CAA"
  records = ["0 issue \"amazon.com\"", "0 issuewild \"amazon.com\""]
  ttl     = 3600
}
