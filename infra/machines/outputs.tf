output "user_data" {
  description = "For a launch template: compressed and in base64; cloud-init takes it as it is."
  value       = base64gzip("#cloud-config\n${jsonencode(local.cloud_config)}")

  precondition {
    condition     = length(base64gzip(jsonencode(local.cloud_config))) * 3 / 4 < 16 * 1024 - 64
    error_message = "User data may have 16 KiB; this machine's has more."
  }
}
