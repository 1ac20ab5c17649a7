# Where copies are, and with which key.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
}

variables {
  environment = "production"
  regions = {
    us-east = { aws_region = "us-east-1", kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/a" }
    eu-west = { aws_region = "eu-west-1", kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/b" }
  }
}

run "a_region_stands_here" {
  assert {
    condition     = [for copy in aws_secretsmanager_secret.shared["tls-ca"].replica : copy.region] == ["eu-west-1"]
    error_message = "A copy in each other region."
  }
  assert {
    condition     = length(aws_kms_key.shared) == 0 && aws_secretsmanager_secret.shared["tls-ca"].kms_key_id == "arn:aws:kms:us-east-1:123456789012:key/a"
    error_message = "Its machines have to decrypt it with their key."
  }
  assert {
    condition     = toset(keys(aws_secretsmanager_secret_version.shared)) == toset(["agent-token", "peer-token", "session-key"])
    error_message = "What is random is made; the authority is the operator's."
  }
}

run "no_region_stands_here" {
  variables {
    regions = {
      eu-west = { aws_region = "eu-west-1", kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/b" }
    }
  }
  assert {
    condition     = length(aws_kms_key.shared) == 1
    error_message = "Then the secrets have a key of their own."
  }
}
