import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.serve_documents import topology

from atoll.serve.code import CodeNotFound, code_versions
from atoll.topology import Topology

PACKAGE = "an_atoll_test_shop"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / PACKAGE
    (folder / "catalog").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    (folder / "catalog" / "app.py").write_text("app = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def of(*import_paths: str) -> Topology:
    known = topology()
    service = known.services["one"]
    return replace(
        known,
        services={
            f"s{number}": replace(service, name=f"s{number}", import_path=path)
            for number, path in enumerate(import_paths)
        },
    )


def test_a_changed_file_is_a_new_version_and_an_unchanged_package_is_not(shop: Path) -> None:
    given = of(f"{PACKAGE}.catalog.app:app", f"{PACKAGE}.quote.app:app")
    first = code_versions(given)
    assert code_versions(given) == first
    assert first["s0"] == first["s1"]
    (shop / "catalog" / "app.py").write_text("app = 2\n")
    assert code_versions(given)["s0"] != first["s0"]
    assert PACKAGE not in sys.modules


def test_data_and_names_count_and_compiled_code_does_not(shop: Path) -> None:
    given = of(f"{PACKAGE}.catalog.app:app")
    seen = {code_versions(given)["s0"]}
    (shop / "catalog" / "cities.csv").write_text("Cork\n")
    seen.add(code_versions(given)["s0"])
    (shop / "catalog" / "cities.csv").rename(shop / "catalog" / "towns.csv")
    seen.add(code_versions(given)["s0"])
    assert len(seen) == 3
    (shop / "catalog" / "__pycache__").mkdir()
    (shop / "catalog" / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"\0")
    assert code_versions(given)["s0"] in seen


def test_a_single_module_has_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "an_atoll_test_module.py"
    module.write_text("app = 1\n")
    given = of("an_atoll_test_module:app")
    first = code_versions(given)
    module.write_text("app = 2\n")
    assert code_versions(given) != first


def test_missing_code_is_named() -> None:
    with pytest.raises(CodeNotFound, match=r"service s0.*'an_atoll_test_nothing'"):
        code_versions(of("an_atoll_test_nothing.app:app"))
