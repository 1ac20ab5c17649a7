"""What can be said of the tree of Terraform without applying it."""

import shutil
from pathlib import Path

import pytest
from tests.infra.deployment import aliases
from tests.infra.terraform import TREE, Terraform

MODULES = sorted(folder.parent.relative_to(TREE) for folder in TREE.glob("modules/*/variables.tf"))
ENVIRONMENTS = sorted(folder.parent.relative_to(TREE) for folder in TREE.glob("environments/*/variables.tf"))


def test_what_is_written_is_up_to_date() -> None:
    module = aliases()
    for path, text in module.files(TREE, module.AWS_REGIONS).items():
        assert path.read_text() == text, f"{path}: run python infra/terraform/aliases.py"


def test_it_is_formatted(provider: None) -> None:
    assert Terraform(TREE).run("fmt", "-check", "-recursive", "-list=true") == ""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for part in ("terraform", "machines"):
        shutil.copytree(
            TREE.parent / part, folder / "infra" / part, ignore=shutil.ignore_patterns(".terraform*")
        )
    return folder / "infra" / "terraform"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ENVIRONMENTS, ids=str)
def test_an_environment_is_valid(provider: None, copy: Path, name: Path) -> None:
    terraform = Terraform(copy / name)
    terraform.init()
    terraform.run("validate", "-no-color")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in MODULES if (TREE / name / "tests").is_dir()], ids=str)
def test_the_modules_logic(provider: None, copy: Path, name: Path) -> None:
    terraform = Terraform(copy / name)
    terraform.init()
    terraform.run("test", "-no-color")


def test_each_input_and_output_is_described() -> None:
    for path in [*TREE.glob("**/variables.tf"), *TREE.glob("**/outputs.tf")]:
        if ".terraform" in path.parts:
            continue
        blocks = [
            block
            for block in path.read_text().split("\n}\n")
            if block.strip().split(" ")[0].endswith(("variable", "output"))
        ]
        assert all("description" in block for block in blocks), path
