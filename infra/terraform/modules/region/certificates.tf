# What clients see. Proof of the domain is a record that ACM asks for once for a domain, whatever the region: it is made
# where the public zone is, before any region.

resource "aws_acm_certificate" "public" {
  domain_name               = var.public_domain
  subject_alternative_names = ["*.${var.public_domain}"]
  validation_method         = "DNS"
  tags                      = { Name = local.full_name }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_acm_certificate_validation" "public" {
  certificate_arn = aws_acm_certificate.public.arn
}
