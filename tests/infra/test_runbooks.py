"""Each command of a runbook would work as it is written: its program, action and options are there, and every name."""

import argparse
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

import pytest
from tests.infra.terraform import ROOT, TREE

from atoll.cli.program import main

HERE = ROOT / "infra" / "runbooks"
RUNBOOKS = sorted(HERE.glob("*.md"))
SCRIPTS = sorted(HERE.glob("*.sh"))
# Where commands are run from: `../../../runbooks/roll.sh` is found from here.
FOLDER = TREE / "environments" / "production"
TERRAFORM = {"init", "plan", "apply", "output", "show", "state"}
OTHERS = {"cat", "cp", "curl", "date", "grep", "jq", "mv", "openssl"}
PLAIN = {"-json", "-out", "-refresh=false"}  # options of terraform that name nothing
KINDS = {"head", "workers", "gateways", "state"}
SUBSTITUTION = re.compile(r"\$\(((?:[^()]|\([^()]*\))*)\)")


def _blocks(path: Path) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL)


def _commands(line: str) -> list[list[str]]:
    """Every command in a line of shell, those in `$(...)`, behind pipes and of `xargs` as well."""
    lexer = shlex.shlex(SUBSTITUTION.sub("SUBSTITUTED", line), posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|;&"):
            found.append([])
        else:
            found[-1].append(word)
    own = [command[3:] if command[:2] == ["xargs", "-d"] else command for command in found if command]
    return own + [each for inner in SUBSTITUTION.findall(line) for each in _commands(inner)]


def _faults(line: str) -> Iterator[str]:
    """What would not work in a line of a runbook."""
    for command in _commands(line):
        program, *arguments = command
        yield from (f"there is no {word}" for word in command if word.startswith("../") and not _there(word))
        if program == "atoll":
            yield from _atoll(arguments)
        elif program == "terraform":
            yield from _terraform(arguments)
        elif program == "aws":
            yield from _aws(arguments)
        elif program == "cd":
            yield from (f"there is no {folder}" for folder in arguments if not (ROOT / folder).is_dir())
        elif program.endswith(".sh") and _there(program):
            yield from _script((FOLDER / program).resolve(), len(arguments))
        elif program not in OTHERS and not program.endswith(".sh"):
            yield f"{program} is not said to be needed"
    yield from _looked_up(line)


def _there(path: str) -> bool:
    return (FOLDER / path).exists()


def _atoll(arguments: Sequence[str]) -> Iterator[str]:
    """The program's own parser takes it; what it would do is not done."""

    class ParsedError(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *given: object, **options: object) -> NoReturn:
        parse(parser, *given, **options)
        raise ParsedError

    try:
        with patch.object(argparse.ArgumentParser, "parse_args", stop):
            main(list(arguments))
    except ParsedError:
        return
    except SystemExit:
        pass
    yield f"atoll does not take {' '.join(arguments)}"


@cache
def _declared(kind: str, folder: Path) -> frozenset[str]:
    """Names of the blocks of a kind; of resources with their type: `aws_ebs_volume.stateful`."""
    text = "".join(path.read_text() for path in folder.glob("*.tf"))
    found = re.findall(rf'^{kind} "(\w+)"(?: "(\w+)")?', text, re.MULTILINE)
    return frozenset(".".join(filter(None, names)) for names in found)


def _terraform(arguments: Sequence[str]) -> Iterator[str]:
    action, *rest = arguments
    if action not in TERRAFORM:
        yield f"terraform {action} is none of {TERRAFORM}"
    words = [word for word in rest if not word.startswith("-")]
    if action == "output":
        yield from (f"no output {name}" for name in words if name not in _declared("output", FOLDER))
    for option, value in itertools.pairwise([*rest, ""]):
        name, _, address = option.partition("=")
        if name == "-var":
            variable = value.partition("=")[0]
            if variable not in _declared("variable", FOLDER):
                yield f"no variable {variable}"
        elif name in {"-target", "-replace"}:
            yield from _address(address)
        elif name.startswith("-") and option not in PLAIN:
            yield f"terraform's option {option}"


def _address(address: str) -> Iterator[str]:
    plain = re.sub(r"\[[^]]*\]", "", address)
    module = re.fullmatch(r"module\.atoll\.module\.(\w+)(?:\.(\w+\.\w+))?", plain)
    if module is None or module[1] not in _declared("module", TREE / "modules" / "deployment"):
        yield f"no module {address}"
    elif module[2] and module[2] not in _declared("resource", _source(module[1])):
        yield f"no resource {address}"


def _source(module: str) -> Path:
    """Where a module of the deployment is written: one is named as its folder, or as the AWS region it is for."""
    own = TREE / "modules" / module
    return own if own.is_dir() else TREE / "modules" / "region"


@cache
def _told_of_regions() -> frozenset[str]:
    """What the output `regions` has of each."""
    text = (TREE / "modules" / "deployment" / "outputs.tf").read_text()
    block = re.search(r'output "regions" \{.*?^\}', text, re.DOTALL | re.MULTILINE)
    assert block is not None
    return frozenset(re.findall(r"^      (\w+) +=", block[0], re.MULTILINE))


def _looked_up(line: str) -> Iterator[str]:
    """What is taken out of outputs, and alarms by their name."""
    for name, kind in re.findall(r"""jq -r '\."[a-z-]+"\.(\w+)(?:\.([\w-]+))?'""", line):
        if name not in _told_of_regions():
            yield f"no {name} in the output regions"
        if kind and kind not in KINDS:
            yield f"no {kind} in {name}"
    alarms = (TREE / "modules" / "alarms" / "main.tf").read_text()
    for name in re.findall(r"--alarm-names atoll-production-\S*-([a-z]+)", line):
        if not re.search(rf"^    {name} += \{{", alarms, re.MULTILINE):
            yield f"no alarm {name}"


def _aws(arguments: Sequence[str]) -> Iterator[str]:
    """The service has the operation, and the operation the options."""
    session = pytest.importorskip("botocore.session", reason="not here: botocore (the extra `infra`)")
    from botocore import xform_name

    service, operation, *rest = arguments
    if service == "s3":
        if operation not in {"cp", "sync"}:
            yield f"aws s3 has no {operation}"
        return
    model = session.get_session().get_service_model(service)
    names = {xform_name(each, "-"): each for each in model.operation_names}
    if operation not in names:
        yield f"aws {service} has no {operation}"
        return
    members = model.operation_model(names[operation]).input_shape.members
    options = {f"--{xform_name(member, '-')}" for member in members} | {"--region", "--query", "--output"}
    given = {word.split("=")[0] for word in rest if word.startswith("--")}
    yield from (f"aws {service} {operation} has no {option}" for option in sorted(given - options))


def _script(script: Path, given: int) -> Iterator[str]:
    text = script.read_text()
    needed = {int(number) for number in re.findall(r"\$\{(\d):\?", text)}
    known = needed | {int(number) for number in re.findall(r"\$\{(\d):-", text)}
    if not script.stat().st_mode & 0o100:
        yield f"{script.name} can't be run"
    if not len(needed) <= given <= len(known):
        yield f"{script.name} takes {len(needed)} to {len(known)} arguments, not {given}"


def _shellcheck(text: str) -> str:
    shellcheck = ROOT / ".venv" / "bin" / "shellcheck"
    if not shellcheck.exists():
        pytest.skip("not here: shellcheck (the extra `infra`)")
    # In a runbook a person sees that `cd` failed; what jq and aws read stands in single quotes.
    command = [str(shellcheck), "--shell=bash", "--exclude=SC2164,SC2016", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.name)
def test_a_runbook_works_as_it_is_written(path: Path) -> None:
    blocks = _blocks(path)
    assert blocks
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert [f"{line}: {fault}" for line in lines for fault in _faults(line)] == []
    assert _shellcheck("\n".join(lines)) == ""
    linked = [HERE / link for link in re.findall(r"\]\(([^)#]+)\)", path.read_text())]
    assert [link for link in linked if not link.exists()] == []


REGIONS = "terraform output -json regions | jq -r"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("atoll topology check --fast topology.toml", "atoll does not take"),
        ("atoll topologies", "atoll does not take"),
        ("terraform appply", "terraform appply"),
        ("terraform apply -refresh=no", "option -refresh=no"),
        ("terraform apply -var 'draned=[]'", "no variable draned"),
        ("terraform apply -target=module.atoll.module.globe", "no module"),
        ("""terraform apply -replace='module.atoll.module.eu_west_1["a"].aws_ebs_volume.x'""", "no resource"),
        ("terraform output -json region", "no output region"),
        (f"""{REGIONS} '."eu-west".bucket'""", "no bucket"),
        (f"""{REGIONS} '."eu-west".autoscaling_groups.worker'""", "no worker"),
        ("aws s3 copy a b", "aws s3 has no copy"),
        ("aws autoscaling start-refresh", "no start-refresh"),
        ("aws autoscaling start-instance-refresh --group x", "no --group"),
        ("aws cloudwatch describe-alarms --alarm-names atoll-production-eu-west-stale", "no alarm stale"),
        ("../../../runbooks/rol.sh eu-west state", "no ../../../runbooks/rol.sh"),
        ("../../../runbooks/roll.sh eu-west", "roll.sh takes 2 to 2 arguments, not 1"),
        ("../../../machines/release.sh 0.6.0 releases aarch64", "release.sh takes 1 to 2 arguments, not 3"),
        (
            "../../../runbooks/publish.sh topology.toml ../../../topologies/shops.toml",
            "no ../../../topologies",
        ),
        ('echo "$(terraform output -json region)"', "no output region"),
        ("cat a | kubectl apply", "kubectl"),
        ("cd infra/terraform/environments/prod", "environments/prod"),
    ],
)
def test_what_would_not_work_is_found(line: str, says: str) -> None:
    assert any(says in fault for fault in _faults(line)), list(_faults(line))


def test_shell_that_is_not_sound_is_found() -> None:
    assert "SC2046" in _shellcheck("aws s3 cp topology.toml s3://$(cat bucket)/topology.toml")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_sound(script: Path) -> None:
    text = script.read_text()
    assert _shellcheck(text) == ""
    joined = text.replace("\\\n", " ")
    for service, operation in re.findall(r"\baws ([a-z0-9]+) ([a-z-]+)", joined):
        assert list(_aws([service, operation])) == []
    outputs = set(re.findall(r"terraform output -json (\w+)", joined))
    assert outputs <= _declared("output", FOLDER)
    assert set(re.findall(r"(?:jq -\w+ '?|\.value|\.\[\$name\])\.(\w+)", joined)) <= _told_of_regions()


PROGRAMS = {
    "terraform": 'cat "$FOLDER/regions.json"',
    "atoll": "cat >/dev/null",
    "jq": 'echo "$*" >>"$FOLDER/jq"; exec "$JQ" "$@"',
    "aws": """
        echo "$*" >>"$FOLDER/aws"
        case "$*" in
          *AWSPREVIOUS*) [ "$SAYS" = rotated ] && echo the-password-before ;;
          *AWSCURRENT*) [ "$SAYS" != refused ] && echo the-password ;;
          *modify-user*) cp "${6#file://}" "$FOLDER/request" ;;
          *start-instance-refresh*) echo refresh ;;
          *describe-instance-refreshes*) printf '%s\\tsome reason\\n' "$SAYS" ;;
          "s3 "*" us-east-1 "*) [ "$SAYS" != lost ] ;;
        esac
    """,
}
"""What scripts call, as far as they are told something."""


def _region(aws_region: str) -> dict[str, object]:
    return {
        "aws_region": aws_region,
        "config_bucket": f"bucket-{aws_region}",
        "autoscaling_groups": {"state": "the-group"},
        "secrets": {"cache-password": "the-secret"},
        "cache_user": "the-user",
    }


def _run(folder: Path, script: str, *arguments: str, says: str = "") -> int:
    """The exit status of a script; `says` is what happens in AWS."""
    if shutil.which("jq") is None:
        pytest.skip("not here: jq")
    regions = {"us-east": _region("us-east-1"), "eu-west": _region("eu-west-1")}
    (folder / "regions.json").write_text(json.dumps(regions))
    (folder / "bin").mkdir(exist_ok=True)
    for name, program in PROGRAMS.items():
        (folder / name).unlink(missing_ok=True)
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{program}\n")
        (folder / "bin" / name).chmod(0o755)
    path = f"{folder}/bin:{os.environ['PATH']}"
    environment = {"PATH": path, "FOLDER": str(folder), "JQ": str(shutil.which("jq")), "SAYS": says}
    command = [str(HERE / script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=30).returncode


def test_a_cache_takes_the_password_and_the_one_before(tmp_path: Path) -> None:
    for says, passwords in ("", ["the-password"]), ("rotated", ["the-password", "the-password-before"]):
        assert _run(tmp_path, "cache.sh", "eu-west", says=says) == 0
        request = json.loads((tmp_path / "request").read_text())
        assert request["AuthenticationMode"] == {"Type": "password", "Passwords": passwords}
        for program in ("aws", "jq"):
            assert "the-password" not in (tmp_path / program).read_text()


def test_a_cache_is_left_alone_if_its_password_can_not_be_read(tmp_path: Path) -> None:
    assert _run(tmp_path, "cache.sh", "eu-west", says="refused") != 0
    assert "modify-user" not in (tmp_path / "aws").read_text()


@pytest.mark.parametrize(("state", "status"), [("Successful", 0), ("Failed", 1), ("RollbackSuccessful", 1)])
def test_rolling_ends_as_the_refresh_does(tmp_path: Path, state: str, status: int) -> None:
    assert _run(tmp_path, "roll.sh", "eu-west", "state", says=state) == status
    asked = (tmp_path / "aws").read_text()
    assert "--auto-scaling-group-name the-group --preferences MinHealthyPercentage=0 " in asked


@pytest.mark.parametrize(("script", "argument"), [("publish.sh", "topology.toml"), ("ship.sh", "releases")])
def test_a_region_that_does_not_answer_keeps_no_other_from_it(
    tmp_path: Path, script: str, argument: str
) -> None:
    for says, status in ("", 0), ("lost", 1):
        assert _run(tmp_path, script, argument, says=says) == status
        asked = (tmp_path / "aws").read_text()
        assert "s3://bucket-us-east-1/" in asked
        assert "s3://bucket-eu-west-1/" in asked
