"""A copy of the infrastructure's tree that an environment is applied from, with regions that come and go."""

import re
import shutil
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import cast

from tests.infra import overrides
from tests.infra.terraform import ROOT, TREE, Terraform

SETTINGS = """\
public_zone   = "example.com"
public_domain = "shop.example.com"
mail          = ["oncall@example.com"]
budget        = 3000
release = {
  version             = "0.6.0"
  requirements_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
}
"""

# Services that each region has for itself, as the provider names them.
REGIONAL = (
    *("acm", "autoscaling", "cloudwatch", "ec2", "elasticache", "elbv2", "kms"),
    *("logs", "s3", "secretsmanager", "sns"),
)

FRANKFURT = """\
    eu-central = {
      aws_region = "eu-central-1"
      title      = "Frankfurt"
      latitude   = 50.11
      longitude  = 8.68
      zone       = "eu"
      cidr       = "10.4.0.0/16"
    }
"""


def aliases() -> ModuleType:
    """`infra/terraform/aliases.py`."""
    return script(TREE / "aliases.py")


def script(path: Path) -> ModuleType:
    """A script that is in no package."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Deployment:
    """One environment, ready for `terraform init`."""

    terraform: Terraform

    def add(self, entry: str) -> None:
        """One entry more in the map of regions."""
        path = self.terraform.folder / "regions.tf"
        text, number = re.subn(r"(\n  regions = \{\n)", lambda found: found[1] + entry, path.read_text())
        assert number == 1
        path.write_text(text)

    def remove(self, entry: str) -> None:
        path = self.terraform.folder / "regions.tf"
        assert entry in path.read_text()
        path.write_text(path.read_text().replace(entry, ""))

    def lose(self, aws_region: str) -> None:
        """From now on nothing of this AWS region answers, the others do."""
        alias = aws_region.replace("-", "_")
        endpoints = "".join(f'    {service} = "http://127.0.0.1:9"\n' for service in REGIONAL)
        (self.terraform.folder / "lost_override.tf").write_text(
            f'provider "aws" {{\n  alias       = "{alias}"\n  region      = "{aws_region}"\n'
            f"  max_retries = 1\n  endpoints {{\n{endpoints}  }}\n}}\n"
        )

    def find(self) -> None:
        """The lost region answers again."""
        (self.terraform.folder / "lost_override.tf").unlink()


def copied(
    folder: Path, name: str, aws_regions: tuple[str, ...], environment: dict[str, str], *, laid: bool = True
) -> Deployment:
    """The environment `name` in a copy of the tree that has providers for `aws_regions`, and what moto needs.

    `laid=False`: without the latter. It can be planned, and not applied.
    """
    ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "terraform.tfvars", "backend.tf")
    for part in ("terraform", "machines"):
        shutil.copytree(ROOT / "infra" / part, folder / "infra" / part, ignore=ignored)
    tree = folder / "infra" / "terraform"
    files = cast("dict[Path, str]", aliases().files(tree, aws_regions))
    for path, text in files.items():
        path.write_text(text)
    if laid:
        overrides.lay(tree)
    root = tree / "environments" / name
    (root / "terraform.tfvars").write_text(SETTINGS)
    return Deployment(Terraform(root, environment))
