# What the machine tells: its lines (JSON) to its log group, its disk and memory, and the figures of the roles that have
# some, to one namespace with the region's name.

locals {
  # Figures that alarms and pictures of all regions need; the rest is for Prometheus, which may ask the same address.
  figures = [
    "atoll_state_lag_seconds", "atoll_state_staleness_seconds", "atoll_state_behind_operations", "atoll_problems_total",
    "atoll_requests_total", "atoll_topology_revision", "atoll_draining", "atoll(_state)?_certificate_expires_timestamp_seconds",
  ]
  # Where a role tells them, on the machine's own address.
  figures_ports = { gateway = 9901, agent = 9902 }
  measured      = [for role, port in local.figures_ports : port if contains(var.roles, role)]
  dimensions    = { Region = var.region, Machine = var.machine }

  cloudwatch = {
    agent = { metrics_collection_interval = 60, run_as_user = "root", omit_hostname = true }
    metrics = {
      namespace              = var.metrics
      aggregation_dimensions = [keys(local.dimensions)]
      metrics_collected = {
        disk = { measurement = ["used_percent"], resources = ["/", "/var/lib/atoll"], drop_device = true, append_dimensions = local.dimensions }
        mem  = { measurement = ["used_percent"], append_dimensions = local.dimensions }
      }
    }
    logs = merge(
      {
        logs_collected = {
          files = {
            collect_list = [for path in ["/var/log/atoll/*.jsonl", "/var/log/cloud-init-output.log"] : {
              file_path       = path
              log_group_name  = var.log_group
              log_stream_name = "{instance_id}/${trimsuffix(basename(path), ".log")}"
            }]
          }
        }
      },
      length(local.measured) > 0 ? {
        metrics_collected = {
          prometheus = {
            log_group_name         = var.log_group
            prometheus_config_path = "/etc/atoll/prometheus.yaml"
            emf_processor = {
              metric_namespace = var.metrics
              metric_declaration = [{
                source_labels    = ["job"]
                label_matcher    = "^atoll$"
                dimensions       = [["Region"], ["Region", "Machine"]]
                metric_selectors = [for name in local.figures : "^${name}$"]
              }]
            }
          }
        }
      } : {},
    )
  }

  prometheus = {
    global = { scrape_interval = "60s" }
    scrape_configs = [{
      job_name        = "atoll"
      metrics_path    = "/-/metrics"
      basic_auth      = { username = "cloudwatch", password_file = "/run/atoll/secrets/admin-token" }
      file_sd_configs = [{ files = ["/etc/atoll/figures.json"] }]
    }]
  }
}
