output "secrets" {
  description = "Shared secrets, by kind, to be filled by the operator."
  value       = { for kind, secret in aws_secretsmanager_secret.shared : kind => secret.arn }
}
