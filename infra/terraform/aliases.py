"""Writes what Terraform can't loop over: providers, and the modules that take one, for each AWS region.

A provider of AWS 5 speaks to one region, and neither a provider nor the choice of one can be made by `for_each`. So
each AWS region that a deployment may stand in has a block; those without an entry in the map of regions make nothing.
Each costs every plan about 2.5 s and 110 MiB on two busy cores, so the list holds what is likely, not all there is.

    python infra/terraform/aliases.py [AWS_REGION ...]     # writes the files; `terraform init` afterwards
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# One for each part of the world where several are near each other, and the first choice of most.
AWS_REGIONS = (
    "us-east-1",
    "us-west-2",
    "sa-east-1",
    "eu-west-1",
    "eu-central-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-northeast-1",
)

HEAD = "# Written by infra/terraform/aliases.py; add an AWS region there.\n"

DEPLOYMENT_HEAD = """
terraform {{
  required_version = ">= 1.11"
  required_providers {{
    aws = {{
      source  = "hashicorp/aws"
      version = "~> 5.100"
      configuration_aliases = [
{aliases}
      ]
    }}
  }}
}}

locals {{
  aws_regions = [{names}]

  # Everything below by the region's name.
  built = merge({regions})
  asked = merge({asked})
}}
"""

DEPLOYMENT_REGION = """
module "{alias}" {{
  source    = "../region"
  for_each  = {{ for name, region in var.regions : name => region if region.aws_region == "{aws_region}" }}
  providers = {{ aws = aws.{alias} }}

  environment   = var.environment
  name          = each.key
  region        = each.value
  domain        = var.domain
  public_domain = module.domain.public_domain
  peers         = {{ for name, peer in var.regions : name => {{ cidr = peer.cidr }} if name != each.key }}
  release       = var.release
  image         = var.image
  tags          = var.tags

  secrets_revision = var.secrets_revision
}}

module "{alias}_requests" {{
  source    = "../requests"
  for_each  = {{ for name, region in var.regions : name => region if region.aws_region == "{aws_region}" }}
  providers = {{ aws = aws.{alias} }}

  name   = each.key
  vpc_id = module.{alias}[each.key].vpc_id
  peers  = {{ for name, peer in local.networks : name => peer if name != each.key }}
}}

module "{alias}_links" {{
  source    = "../links"
  for_each  = {{ for name, region in var.regions : name => region if region.aws_region == "{aws_region}" }}
  providers = {{ aws = aws.{alias} }}

  name            = each.key
  vpc_id          = module.{alias}[each.key].vpc_id
  route_table_ids = module.{alias}[each.key].route_table_ids
  peers           = {{ for name, peer in local.networks : name => peer if name != each.key }}
  requested       = {{ for name, requests in local.asked : name => requests.connections }}
}}

module "{alias}_alarms" {{
  source    = "../alarms"
  for_each  = {{ for name, region in var.regions : name => region if region.aws_region == "{aws_region}" }}
  providers = {{ aws = aws.{alias} }}

  environment = var.environment
  name        = each.key
  public      = module.{alias}[each.key].public
  log_group   = module.{alias}[each.key].logs["gateways"]
  namespace   = module.{alias}[each.key].metrics.namespace
  kms_key_arn = module.{alias}[each.key].kms_key_arn
  mail        = var.mail
}}
"""

ENVIRONMENT = """
terraform {{
  required_version = ">= 1.11"
  required_providers {{
    aws = {{
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }}
  }}
}}

# Where AWS keeps what belongs to no region: metrics of health checks, budgets.
provider "aws" {{
  region     = "us-east-1"
  sts_region = "us-east-1"
  default_tags {{
    tags = local.tags
  }}
}}
"""

ENVIRONMENT_PROVIDER = """
provider "aws" {{
  alias      = "{alias}"
  region     = "{aws_region}"
  sts_region = "us-east-1" # a region that is lost must not keep others from being applied
  default_tags {{
    tags = local.tags
  }}
}}
"""

ENVIRONMENT_MODULE = """
module "atoll" {{
  source = "../../modules/deployment"
  providers = {{
{providers}
  }}

  environment   = local.environment
  regions       = local.regions
  public_zone   = var.public_zone
  public_domain = var.public_domain
  domain        = var.domain
  release       = var.release
  image         = var.image
  steering      = var.steering
  drained       = var.drained
  budget        = var.budget
  mail          = var.mail
  tags          = local.tags

  secrets_revision = var.secrets_revision
}}
"""


def alias(aws_region: str) -> str:
    return aws_region.replace("-", "_")


def deployment(aws_regions: tuple[str, ...]) -> str:
    """The blocks of `modules/deployment`."""
    aliases = [alias(name) for name in aws_regions]
    head = DEPLOYMENT_HEAD.format(
        aliases=",\n".join(f"        aws.{name}" for name in aliases),
        names=", ".join(f'"{name}"' for name in aws_regions),
        regions=", ".join(f"module.{name}" for name in aliases),
        asked=", ".join(f"module.{name}_requests" for name in aliases),
    )
    blocks = (DEPLOYMENT_REGION.format(alias=alias(name), aws_region=name) for name in aws_regions)
    return HEAD + head + "".join(blocks)


def environment(aws_regions: tuple[str, ...]) -> str:
    """The providers of an environment, and the module that takes them."""
    blocks = (ENVIRONMENT_PROVIDER.format(alias=alias(name), aws_region=name) for name in aws_regions)
    names = [("aws", "aws"), *((f"aws.{alias(name)}", f"aws.{alias(name)}") for name in aws_regions)]
    width = max(len(name) for name, _ in names)
    providers = "\n".join(f"    {name:<{width}} = {value}" for name, value in names)
    return HEAD + ENVIRONMENT.format() + "".join(blocks) + ENVIRONMENT_MODULE.format(providers=providers)


def files(folder: Path, aws_regions: tuple[str, ...]) -> dict[Path, str]:
    """What each file under the `infra/terraform` at `folder` has to hold."""
    return {
        folder / "modules" / "deployment" / "regions.tf": deployment(aws_regions),
        **{
            folder / "environments" / name / "providers.tf": environment(aws_regions)
            for name in ("production", "minimal")
        },
    }


if __name__ == "__main__":
    for path, text in files(HERE, tuple(sys.argv[1:]) or AWS_REGIONS).items():
        path.write_text(text)
