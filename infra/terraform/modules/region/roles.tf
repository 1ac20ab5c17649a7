# One role a kind of machine, with what its start-up, its drain and its log shipper do. What runs on the machine can't use
# it: the units of Atoll's roles may not reach the metadata service.

data "aws_iam_policy_document" "machine_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

locals {
  secrets_arn = "arn:${local.partition}:secretsmanager:${var.region.aws_region}:${local.account}:secret"
  ec2_arn     = "arn:${local.partition}:ec2:${var.region.aws_region}:${local.account}"
  group_arn   = "arn:${local.partition}:autoscaling:${var.region.aws_region}:${local.account}:autoScalingGroup:*:autoScalingGroupName"
}

data "aws_iam_policy_document" "machine" {
  # checkov:skip=CKV_AWS_111: the actions that know no resource are bound to a namespace, or open a channel of the machine itself
  # checkov:skip=CKV_AWS_356: as above
  for_each = local.machines

  statement {
    sid       = "Config"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.config.arn}/topology.toml", "${aws_s3_bucket.config.arn}/releases/*"]
  }
  statement {
    sid       = "Releases"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.config.arn]
    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["releases/*"]
    }
  }
  statement {
    sid     = "Secrets"
    actions = ["secretsmanager:GetSecretValue"]
    resources = concat(
      [for kind in each.value.own_secrets : aws_secretsmanager_secret.this[kind].arn],
      # Shared ones exist once for all regions; Secrets Manager ends an ARN by six characters of its own.
      [for kind in each.value.shared_secrets : "${local.secrets_arn}:atoll/${var.environment}/${kind}-??????"],
    )
  }
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.this.arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [for service in concat(["s3", "secretsmanager"], each.value.volume_gib == 0 ? [] : ["ec2"]) : "${service}.${var.region.aws_region}.amazonaws.com"]
    }
  }
  statement {
    sid       = "Hooks"
    actions   = ["autoscaling:CompleteLifecycleAction"]
    resources = ["${local.group_arn}/${local.full_name}-${each.key}"]
  }
  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.machine[each.key].arn}:*"]
  }
  statement {
    sid       = "Metrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = [local.metrics_namespace]
    }
  }
  # Tunnels and shells of operators, through Session Manager alone.
  statement {
    sid = "Sessions"
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = length(each.value.names) == 0 ? [] : [each.value.names]
    content {
      sid       = "OwnNames"
      actions   = ["route53:ChangeResourceRecordSets"]
      resources = [aws_route53_zone.private.arn]
      condition {
        test     = "ForAllValues:StringEquals"
        variable = "route53:ChangeResourceRecordSetsNormalizedRecordNames"
        values   = [for name in statement.value : "${name}.${local.zone_name}"]
      }
      condition {
        test     = "ForAllValues:StringEquals"
        variable = "route53:ChangeResourceRecordSetsRecordTypes"
        values   = ["A"]
      }
      condition {
        test     = "ForAllValues:StringEquals"
        variable = "route53:ChangeResourceRecordSetsActions"
        values   = ["UPSERT"]
      }
    }
  }

  # Its own volume, to a machine of its own kind.
  dynamic "statement" {
    for_each = each.value.volume_gib == 0 ? [] : [aws_ebs_volume.stateful[each.key].arn]
    content {
      sid       = "OwnVolume"
      actions   = ["ec2:AttachVolume"]
      resources = [statement.value]
    }
  }
  dynamic "statement" {
    for_each = each.value.volume_gib == 0 ? [] : [local.machine_tags[each.key]["atoll:machine"]]
    content {
      sid       = "OwnMachine"
      actions   = ["ec2:AttachVolume"]
      resources = ["${local.ec2_arn}:instance/*"]
      condition {
        test     = "StringEquals"
        variable = "aws:ResourceTag/atoll:machine"
        values   = [statement.value]
      }
    }
  }
  # EC2 opens the encrypted volume in the name of who attaches it.
  dynamic "statement" {
    for_each = each.value.volume_gib == 0 ? [] : [aws_kms_key.this.arn]
    content {
      sid       = "OwnVolumeKey"
      actions   = ["kms:CreateGrant"]
      resources = [statement.value]
      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["ec2.${var.region.aws_region}.amazonaws.com"]
      }
      condition {
        test     = "Bool"
        variable = "kms:GrantIsForAWSResource"
        values   = ["true"]
      }
    }
  }
}

resource "aws_iam_role" "machine" {
  for_each = local.machines

  name               = "${local.full_name}-${each.key}"
  description        = "Atoll ${var.name}: ${join(", ", each.value.roles)}"
  assume_role_policy = data.aws_iam_policy_document.machine_trust.json
}

resource "aws_iam_role_policy" "machine" {
  for_each = local.machines

  name   = "machine"
  role   = aws_iam_role.machine[each.key].id
  policy = data.aws_iam_policy_document.machine[each.key].json
}

resource "aws_iam_instance_profile" "machine" {
  for_each = local.machines

  name = "${local.full_name}-${each.key}"
  role = aws_iam_role.machine[each.key].name
}
