# Secrets of the region alone. Passwords and tokens are made here and written without ever being in a state (write-only);
# `tls` (certificate chain and key in one PEM) is put there by the operator. Nothing is kept after deletion: what a
# region that is gone had opens nothing, and the region may come back under its name.

locals {
  generated = toset(["ray-token", "state-password", "cache-password", "gcs-password", "admin-token"])
  secrets   = setunion(local.generated, ["tls"])
}

resource "aws_secretsmanager_secret" "this" {
  # checkov:skip=CKV2_AWS_57: rotation is `secrets_revision`, or a new certificate; machines take up the new value by themselves
  for_each = local.secrets

  name                    = "atoll/${var.environment}/${var.name}/${each.key}"
  description             = "Atoll ${var.name}: ${each.key}"
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = 0
}

# uuid() is 122 bits of the operating system's randomness, anew at each apply; it is written when the revision changes.
resource "aws_secretsmanager_secret_version" "generated" {
  for_each = local.generated

  secret_id                = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo         = sha256("${uuid()}${uuid()}")
  secret_string_wo_version = var.secrets_revision

  lifecycle {
    create_before_destroy = true # machines ask at any time
  }
}
