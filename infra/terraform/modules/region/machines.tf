# What all machines have in common: image, launch template, and the start-up that infra/machines renders.

locals {
  # Graviton's types have a g after the generation's number: m7g, c6gn, r8gd.
  architectures = { for kind, machine in local.machines : kind => (
    can(regex("^[a-z]+[0-9]+g", machine.instance_types[0])) ? "arm64" : "x86_64"
  ) }
  root_gib = 20
}

data "aws_ami" "machine" {
  for_each = toset(values(local.architectures))

  owners             = [var.image.owner]
  include_deprecated = true # a name stays what it names

  filter {
    name   = "name"
    values = [replace(var.image.name, "{arch}", each.value)]
  }
}

module "start" {
  source   = "../../../machines"
  for_each = local.machines

  machine    = each.key
  region     = var.name
  domain     = var.domain
  aws_region = var.region.aws_region
  group      = "${local.full_name}-${each.key}"
  roles      = each.value.roles
  drain_s    = each.value.drain_s
  release    = merge(var.release, { bucket = aws_s3_bucket.config.bucket })
  secrets = merge(
    { for kind in each.value.own_secrets : kind => aws_secretsmanager_secret.this[kind].name },
    { for kind in each.value.shared_secrets : kind => "atoll/${var.environment}/${kind}" },
  )
  zone_id   = aws_route53_zone.private.zone_id
  names     = [for name in each.value.names : "${name}.${local.zone_name}"]
  volume    = try(aws_ebs_volume.stateful[each.key].id, null)
  log_group = aws_cloudwatch_log_group.machine[each.key].name
  metrics   = local.metrics_namespace
}

resource "aws_launch_template" "machine" {
  for_each = local.machines

  name                   = "${local.full_name}-${each.key}"
  image_id               = data.aws_ami.machine[local.architectures[each.key]].id
  instance_type          = each.value.instance_types[0]
  vpc_security_group_ids = [aws_security_group.this[each.key].id]
  user_data              = module.start[each.key].user_data
  ebs_optimized          = true
  update_default_version = true

  iam_instance_profile {
    arn = aws_iam_instance_profile.machine[each.key].arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  monitoring {
    enabled = true
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type           = "gp3"
      volume_size           = local.root_gib
      encrypted             = true
      kms_key_id            = aws_kms_key.this.arn
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "network-interface", "volume"])
    content {
      resource_type = tag_specifications.value
      tags          = local.machine_tags[each.key]
    }
  }

  # A machine starts only when it may do what its start-up does.
  depends_on = [aws_iam_role_policy.machine]
}

locals {
  # Default tags of the provider don't reach what groups make.
  machine_tags = { for kind, _ in local.machines : kind => merge(var.tags, {
    Name            = "${local.full_name}-${kind}"
    "atoll:machine" = "${local.full_name}-${kind}"
  }) }
}
