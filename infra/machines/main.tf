# The user data of a machine: start.sh, drain.sh, its units and its settings, as cloud-init takes them. It fetches nothing
# by itself but packages of Amazon Linux, whose repositories stand still at the image's own version.

locals {
  settings = {
    ATOLL_MACHINE             = var.machine
    ATOLL_REGION              = var.region
    ATOLL_DOMAIN              = var.domain
    ATOLL_AWS_REGION          = var.aws_region
    ATOLL_GROUP               = var.group
    ATOLL_ROLES               = join(" ", var.roles)
    ATOLL_DRAIN_S             = var.drain_s
    ATOLL_USER                = var.user
    ATOLL_PYTHON              = var.python
    ATOLL_BUCKET              = var.release.bucket
    ATOLL_RELEASE             = var.release.version
    ATOLL_RELEASE_MIB         = var.release.free_mib
    ATOLL_REQUIREMENTS_SHA256 = var.release.requirements_sha256
    ATOLL_INDEX_URL           = coalesce(var.release.index_url, " ")
    ATOLL_SECRETS             = join(" ", [for kind, id in var.secrets : "${lookup(local.secret_files, kind, kind)}=${id}"])
    ATOLL_ZONE_ID             = var.zone_id
    ATOLL_NAMES               = join(" ", var.names)
    ATOLL_FIGURES             = join(" ", local.measured)
    ATOLL_VOLUME              = var.volume == null ? "" : var.volume
    ATOLL_VOLUME_WAIT_S       = var.volume_wait_s
  }
  # Where a secret lies under /run/atoll/secrets, if not under its own name.
  secret_files = { tls = "tls/pair.pem", tls-ca = "tls/ca.pem" }

  role_units = [for role in var.roles : "atoll@${role}.service"]
  enabled = concat(
    ["amazon-cloudwatch-agent.service", "logrotate.timer", "atoll-ready.service", "atoll-topology.timer", "atoll-secrets.timer"],
    local.role_units,
    var.drain_s == 0 ? [] : ["atoll-drain.service"],
  )
  unit_files = setsubtract(fileset("${path.module}/units", "*"), var.drain_s == 0 ? ["atoll-drain.service"] : [])

  scripts = { for name in ["start.sh", "drain.sh"] : "/usr/local/lib/atoll/${name}" => file("${path.module}/${name}") }
  files = merge(
    { "/etc/atoll/start.conf" = join("", [for name, value in local.settings : "${name}='${trimspace(value)}'\n"]) },
    { for name in local.unit_files : "/etc/systemd/system/${name}" => file("${path.module}/units/${name}") },
    { for role in var.roles : "/etc/systemd/system/atoll@${role}.service.d/limits.conf" => file("${path.module}/units/limits/${role}.conf") },
    {
      "/etc/systemd/system/atoll-ready.service.d/roles.conf" = join("\n", concat(["[Service]"], [
        for unit in local.role_units : "ExecStartPre=/usr/bin/systemctl is-active --quiet ${unit}"
      ], [""]))
      "/etc/tmpfiles.d/atoll.conf" = "d /var/log/atoll 0750 ${var.user} ${var.user}\n"
      "/etc/sysusers.d/atoll.conf" = "u ${var.user} - \"Atoll\" /var/lib/atoll\n"
      "/etc/logrotate.d/atoll"     = file("${path.module}/logrotate.conf")
      # A gateway writes a line for each request: in a day that would be more than the disk holds.
      "/etc/systemd/system/logrotate.timer.d/atoll.conf" = file("${path.module}/logrotate.timer.conf")
      "/etc/atoll/cloudwatch.json"                       = jsonencode(local.cloudwatch)
      "/etc/atoll/prometheus.yaml"                       = yamlencode(local.prometheus)
    },
  )

  cloud_config = {
    package_upgrade = false
    packages        = [var.python, "amazon-cloudwatch-agent", "logrotate"]
    write_files = concat(
      [for path, content in local.scripts : { path = path, permissions = "0755", content = content }],
      [for path, content in local.files : { path = path, permissions = "0644", content = content }],
    )
    runcmd = [
      ["systemd-sysusers"],
      ["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/atoll.conf"],
      ["/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl", "-a", "fetch-config", "-m", "ec2", "-c", "file:/etc/atoll/cloudwatch.json"],
      ["systemctl", "daemon-reload"],
      concat(["systemctl", "enable"], local.enabled),
      concat(["systemctl", "start", "--no-block"], local.enabled),
    ]
  }
}
