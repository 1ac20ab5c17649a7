output "zone_id" {
  description = "Of the public zone."
  value       = data.aws_route53_zone.public.zone_id
}

output "public_domain" {
  description = "The public domain, once the record that proves it is answered: what depends on this waits for it."
  value       = var.public_domain

  depends_on = [aws_acm_certificate_validation.name]
}
