# AWS services reached without the internet. Amazon Linux keeps its packages in S3, so a machine starts without NAT too.

data "aws_iam_policy_document" "s3_endpoint" {
  # checkov:skip=CKV_AWS_283: it narrows what may pass the endpoint and grants nothing; the packages are everybody's
  statement {
    sid       = "Config"
    actions   = ["s3:GetObject", "s3:ListBucket"]
    resources = [aws_s3_bucket.config.arn, "${aws_s3_bucket.config.arn}/*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [local.account]
    }
  }

  # The packages are public: whoever asks is not signed in.
  statement {
    sid       = "AmazonLinuxPackages"
    actions   = ["s3:GetObject"]
    resources = ["arn:${local.partition}:s3:::al2023-repos-${var.region.aws_region}-de612dc2/*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
  }
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region.aws_region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = concat(values(aws_route_table.edge)[*].id, values(aws_route_table.inner)[*].id)
  policy            = data.aws_iam_policy_document.s3_endpoint.json
  tags              = { Name = "${local.full_name}-s3" }
}

resource "aws_vpc_endpoint" "service" {
  for_each = var.region.endpoints

  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region.aws_region}.${each.value}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = values(aws_subnet.inner)[*].id
  security_group_ids  = [aws_security_group.this["endpoints"].id]
  tags                = { Name = "${local.full_name}-${each.value}" }
}
