import os
import subprocess
import sys
from pathlib import Path

import pytest

from atoll import __version__
from atoll.cli import main
from atoll.cli.exits import Exit
from atoll.cli.program import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def usage_status(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_status("--help") == Exit.SUCCESS
    text = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert name in text
        assert summary in text
    assert "exit status" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_and_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_status(name, "--help") == Exit.SUCCESS
    assert f"usage: atoll {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_status("--version") == Exit.SUCCESS
    assert capsys.readouterr().out.strip() == f"atoll {__version__}"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("fly",),
        ("--json",),
        ("status", "extra"),
        ("status", "--js"),
        ("up", "--regions", "0"),
        ("up", "--regions", "many"),
        ("drain",),
        ("drain", "eu-west", "--timeout", "soon"),
        ("explain", "--client", "192.0.2.1"),
        ("explain", "--client", "nowhere", "--service", "quote"),
        ("fault",),
        ("fault", "explode", "eu-west"),
        ("fault", "kill"),
        ("fault", "fill"),
        ("fault", "without", "gravity"),
        ("fault", "slow", "eu-west", "us-east"),
        ("fault", "slow", "eu-west", "us-east", "--latency", "slowly"),
        ("fault", "slow", "eu-west", "us-east", "--latency", "0s"),
        ("fault", "slow", "eu-west", "us-east", "--latency", "61s"),
        ("drain", "eu-west", "--timeout", "2000min"),
        ("fault", "throttle", "eu-west", "us-east", "--rate", "12"),
        ("fault", "throttle", "eu-west", "us-east", "--rate", "0KiB"),
        ("logs", "--lines", "-1"),
        ("state",),
        ("state", "get", "carts"),
        ("state", "get", "carts", "mine", "--kind", "list"),
        ("state", "keys"),
        ("state", "keys", "carts", "--limit", "0"),
        ("state", "keys", "carts", "--limit", "1001"),
        ("state", "lag", "eu-west"),
        ("state", "verify", "--timeout", "0s"),
        ("state", "repair"),
        ("topology",),
        ("topology", "check"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_so(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    assert usage_status(*words) == Exit.USAGE
    output = capsys.readouterr()
    assert output.out == ""
    assert "usage: atoll" in output.err
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--json"),
        ("deploy",),
        ("deploy", "--rollback"),
        ("drain", "eu-west"),
        ("undrain", "eu-west"),
        ("explain", "--client", "192.0.2.1", "--service", "quote", "--json"),
        ("fault", "kill", "eu-west"),
        ("fault", "heal"),
        ("dashboard",),
        ("state", "get", "carts", "mine"),
        ("state", "keys", "carts", "--json"),
        ("state", "conflicts"),
        ("state", "lag"),
        ("state", "verify"),
        ("state", "repair", "carts", "--region", "eu-west"),
    ],
)
def test_where_nothing_runs_a_command_says_how_to_start(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    assert main(words) == Exit.FAILED
    output = capsys.readouterr()
    assert output.out == ""
    assert "nothing runs" in output.err
    assert str(empty_folder / ".atoll") in output.err
    assert "atoll up" in output.err
    assert "Traceback" not in output.err


def test_help_needs_none_of_the_slow_imports() -> None:
    program = (
        "import sys, contextlib, io\n"
        "from atoll.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        "print(*sorted({'pydantic', 'rich', 'httpx', 'asyncio', 'ray', 'uvloop'} & sys.modules.keys()))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_the_standard_library_keeps_its_platform_module() -> None:
    program = "import platform; print(platform.system())"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == os.uname().sysname
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_a_reader_that_has_had_enough_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "atoll.cli", "topology", "check", ROOT / "infra/topologies/local.toml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=30)
    assert b"Traceback" not in errors
    assert b"Exception" not in errors
