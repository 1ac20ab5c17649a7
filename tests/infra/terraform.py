"""Terraform as tests run it: on a copy of `infra/terraform`, offline, against a cloud that is a process here.

`ATOLL_TERRAFORM_PLUGINS` names a folder that holds the AWS provider (as `terraform providers mirror` lays it out), for
machines that reach no registry. Without it, Terraform finds the provider as it is set up to.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "infra" / "terraform"
PLUGINS = os.environ.get("ATOLL_TERRAFORM_PLUGINS")


@cache
def missing() -> str | None:
    """What is not there for Terraform to run, in words for a skipped test; None if all is."""
    if shutil.which("terraform") is None:
        return "terraform, 1.11 or newer"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(TREE / "modules" / "domain" / "versions.tf", folder)
        try:
            Terraform(Path(folder)).init()
        except TerraformError:
            return f"the AWS provider; ATOLL_TERRAFORM_PLUGINS={PLUGINS or ''} names no folder that holds it"
    return None


class TerraformError(Exception):
    """A command that failed, with all that it printed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan would do to one resource."""

    address: str
    actions: tuple[str, ...]  # as Terraform says: create, update, delete; two of them for a replacement

    @property
    def is_read(self) -> bool:
        return self.actions in {("no-op",), ("read",)}


@dataclass(frozen=True, slots=True)
class Terraform:
    """Commands in one folder."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, timeout_s: float = 1200) -> str:
        """Standard output of a command; TerraformError if it fails."""
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env={**os.environ, **OFFLINE, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise TerraformError(f"terraform {' '.join(arguments)}\n{done.stdout[-4000:]}\n{done.stderr}")
        return done.stdout

    def init(self) -> None:
        plugins = () if PLUGINS is None else (f"-plugin-dir={PLUGINS}",)
        self.run("init", "-no-color", "-backend=false", "-input=false", *plugins)

    def apply(self, *arguments: str, timeout_s: float = 1200) -> None:
        self.run(
            "apply", "-no-color", "-input=false", "-auto-approve", PARALLEL, *arguments, timeout_s=timeout_s
        )

    def destroy(self, timeout_s: float = 1200) -> None:
        """Everything, as the state has it: whoever has just applied need not look again."""
        self.run(
            *("destroy", "-no-color", "-input=false", "-auto-approve", "-refresh=false", PARALLEL),
            timeout_s=timeout_s,
        )

    def plan(self, *arguments: str) -> tuple[Change, ...]:
        """What an apply would do, and nothing that only is read or stays."""
        self.run("plan", "-no-color", "-input=false", "-out=plan", PARALLEL, *arguments)
        return self.changes()

    def planned(self) -> Any:
        """The plan that was made last, as Terraform's own document."""
        return json.loads(self.run("show", "-json", "plan"))

    def changes(self) -> tuple[Change, ...]:
        made = (
            Change(change["address"], tuple(change["change"]["actions"]))
            for change in self.planned().get("resource_changes", ())
        )
        return tuple(change for change in made if not change.is_read)

    def resources(self) -> tuple[str, ...]:
        """Addresses of all that the state holds."""
        return tuple(self.run("state", "list").split())

    def output(self, name: str) -> Any:
        return json.loads(self.run("output", "-json", name))


PARALLEL = "-parallelism=40"  # it waits for answers most of the time

OFFLINE = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "3",  # what moto does not know, it will not know the next time
    "CHECKPOINT_DISABLE": "1",
    "GOGC": "400",  # less collecting for more memory: a plan takes an eighth less
    "TF_IN_AUTOMATION": "1",
}
