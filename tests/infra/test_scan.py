"""A static security scan by checkov: nothing fails but what is skipped, with a reason, beside what it is about."""

import json
import re
import subprocess
from typing import Any

import pytest
from tests.infra.terraform import ROOT, TREE

CHECKOV = ROOT / ".venv" / "checkov" / "bin" / "checkov"
QUIETLY = (
    "--quiet",
    "--compact",
    "--output",
    "json",
    "--skip-download",
    "--skip-resources-without-violations",
)
SKIPPED = re.compile(r"#\s*checkov:skip=(CKV\w+)(.*)")


@pytest.mark.timeout(400)
def test_nothing_fails() -> None:
    if not CHECKOV.exists():
        pytest.skip("not here: checkov (`make test-infra` installs it)")
    done = subprocess.run(
        [CHECKOV, "--directory", TREE / "modules", "--framework", "terraform", *QUIETLY],
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    results: Any = json.loads(done.stdout)
    failed = {
        (check["check_id"], re.sub(r"\[.*?\]", "", check["resource"]), check["check_name"])
        for check in results["results"]["failed_checks"]
    }
    assert failed == set(), "\n".join(" ".join(each) for each in sorted(failed))
    assert results["summary"]["passed"] > 100, "it has seen the modules"


def test_each_exception_has_its_reason() -> None:
    found = [match for path in TREE.glob("**/*.tf") for match in SKIPPED.findall(path.read_text())]
    assert found
    assert all(re.match(r"\s*:\s*\S+ \S+", reason) for _, reason in found), found
