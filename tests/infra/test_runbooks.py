"""Each command of a runbook is one that exists: its program, its action, its options."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from tests.infra.terraform import ROOT

from atoll.cli.program import main

RUNBOOKS = sorted((ROOT / "infra" / "runbooks").glob("*.md"))
# Where commands are run from: `../../../runbooks/roll.sh` is found from here.
FOLDER = ROOT / "infra" / "terraform" / "environments" / "production"
TERRAFORM = {"init", "plan", "apply", "output", "show", "state"}
OTHERS = {"cat", "cd", "cp", "curl", "date", "jq"}


def _lines(path: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def _commands(line: str) -> list[list[str]]:
    """Every command in a line of shell, those in `$(...)` and behind pipes as well."""
    inner = re.findall(r"\$\(((?:[^()]|\([^()]*\))*)\)", line)
    outer = re.sub(r"\$\((?:[^()]|\([^()]*\))*\)", "SUBSTITUTED", line)
    lexer = shlex.shlex(outer, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|;&"):
            found.append([])
        else:
            found[-1].append(word)
    return [command for command in found if command] + [each for part in inner for each in _commands(part)]


COMMANDS = [(path.name, command) for path in RUNBOOKS for line in _lines(path) for command in _commands(line)]


def test_there_are_commands() -> None:
    assert {command[0] for _, command in COMMANDS} >= {"atoll", "terraform", "aws", "curl"}
    assert all(_lines(path) for path in RUNBOOKS)


@pytest.mark.parametrize(
    ("name", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60]
)
def test_a_command_exists(name: str, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = command
    if program == "atoll":
        _atoll(arguments, monkeypatch)
    elif program == "terraform":
        assert arguments[0] in TERRAFORM
    elif program == "aws":
        _aws(arguments)
    elif program.endswith(".sh"):
        script = (FOLDER / program).resolve()
        assert script.is_file() and script.stat().st_mode & 0o100, f"{name}: there is no {program}"
    else:
        assert program in OTHERS, f"{name}: {command}"


def _atoll(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own parser takes it; what it would do is not done."""
    import argparse

    class ParsedError(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *given: object, **options: object) -> None:
        parse(parser, *given, **options)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(ParsedError):
        main(arguments)


def _aws(arguments: list[str]) -> None:
    """The service has the operation, and the operation the options."""
    session = pytest.importorskip("botocore.session", reason="not here: botocore (the extra `infra`)")
    service, operation, *rest = arguments
    if service == "s3":
        assert operation in {"cp", "rm"}
        return
    from botocore import xform_name

    model = session.get_session().get_service_model(service)
    names = {xform_name(each, "-"): each for each in model.operation_names}
    assert operation in names, f"aws {service} has no {operation}"
    members = model.operation_model(names[operation]).input_shape.members
    options = {f"--{xform_name(member, '-')}" for member in members}
    given = {word.split("=")[0] for word in rest if word.startswith("--")}
    assert given <= options | {"--region", "--query", "--output", "--cli-input-json"}, given - options


@pytest.mark.parametrize(
    "script", sorted((ROOT / "infra" / "runbooks").glob("*.sh")), ids=lambda path: path.name
)
def test_a_script_is_sound(script: Path) -> None:
    shellcheck = ROOT / ".venv" / "bin" / "shellcheck"
    if not shellcheck.exists():
        pytest.skip("not here: shellcheck (the extra `infra`)")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "script", sorted((ROOT / "infra" / "runbooks").glob("*.sh")), ids=lambda path: path.name
)
def test_a_scripts_aws_commands_exist(script: Path) -> None:
    text = script.read_text().replace("\\\n", " ")
    for service, operation in re.findall(r"\baws ([a-z0-9]+) ([a-z-]+)", text):
        _aws([service, operation])
