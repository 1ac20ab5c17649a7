import os
import ssl
import stat
import time
from pathlib import Path

import pytest
from tests.tls_files import DAY_S, DOMAIN, Signer, write_tls

from atoll.certificates import Authority, AuthorityError, issue, make_authority, open_authority
from atoll.cli import main
from atoll.cli.exits import Exit
from atoll.clock import SystemClock
from atoll.tls import CellTls, Role, TlsError
from atoll.tls.material import read_material
from atoll.topology.wiring import TlsFiles

NOW = 1_800_000_000.0


def test_a_certificate_ends_with_its_authority_at_the_latest() -> None:
    made = make_authority(DOMAIN, NOW, days=30)
    authority = open_authority(made.certificate, made.key)
    assert issue(authority, "eu-west", NOW, days=10).ends.timestamp() == NOW + 10 * DAY_S
    assert issue(authority, "eu-west", NOW, days=90).ends == made.ends
    with pytest.raises(AuthorityError, match="has ended"):
        issue(authority, "eu-west", NOW + 31 * DAY_S, days=1)


def test_every_certificate_has_a_key_of_its_own() -> None:
    signer = Signer.new()
    assert len({signer.issue("eu-west").key for _ in range(5)}) == 5


def test_an_authority_speaks_for_no_other_domain(tmp_path: Path) -> None:
    """Though who has its key can make such a certificate, nobody believes it."""
    signer = Signer.new("one.test")
    opened = open_authority(signer.made.certificate, signer.made.key)
    forged = issue(Authority(opened.certificate, opened.key, "other.test"), "eu-west", time.time(), 1)
    files = write_tls(tmp_path, forged, signer.certificate)
    with pytest.raises(TlsError, match="permitted subtree"):
        read_material(files, "agent.eu-west.other.test")


def test_the_key_finds_its_certificate_among_several() -> None:
    signer, other = Signer.new(), Signer.new()
    opened = open_authority(other.certificate + signer.certificate, signer.made.key)
    assert opened.certificate == open_authority(signer.certificate, signer.made.key).certificate


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (b"", Signer.new().made.key),
        (Signer.new().certificate, b"none"),
        (Signer.new().certificate, Signer.new().made.key),
        ((leaf := Signer.new().issue("eu-west")).certificate, leaf.key),
    ],
    ids=["no certificate", "no key", "another key", "no authority"],
)
def test_what_is_no_authority_is_refused(certificate: bytes, key: bytes) -> None:
    with pytest.raises(AuthorityError):
        open_authority(certificate, key)


# --- the command


@pytest.fixture
def ca(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "ca"
    assert (
        main(["certificates", "make-ca", "--domain", "atoll.internal", "--out", str(folder)]) == Exit.SUCCESS
    )
    assert "ca-key.pem" in capsys.readouterr().out
    return folder


def issued(ca: Path, out: Path, *more: str, region: str = "eu-west") -> int:
    return main(["certificates", "issue", region, "--ca", str(ca), "--out", str(out), *more])


def test_what_the_command_makes_is_what_a_cell_takes(ca: Path, tmp_path: Path) -> None:
    out = tmp_path / "tls" / "eu-west"
    old_mask = os.umask(0)
    try:
        assert issued(ca, out) == Exit.SUCCESS
    finally:
        os.umask(old_mask)
    files = TlsFiles(out / "cert.pem", out / "key.pem", out / "ca.pem", "atoll.internal")
    tls = CellTls(files, Role.GATEWAYS, "eu-west", SystemClock())
    assert round(tls.statistics().days_left) == 90
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*ca.iterdir(), *out.iterdir())} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (ca, out)} == {0o700}
    assert {path.name for path in out.iterdir()} == {"cert.pem", "key.pem", "ca.pem"}


def test_renewing_replaces_the_certificate_and_its_key(ca: Path, tmp_path: Path) -> None:
    out = tmp_path / "eu-west"
    assert issued(ca, out) == Exit.SUCCESS
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert issued(ca, out, "--days", "7") == Exit.SUCCESS
    changed = {path.name for path in out.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {"cert.pem", "key.pem"}


def test_an_authority_is_never_overwritten(ca: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in ca.iterdir()}
    again = ["certificates", "make-ca", "--domain", "other.internal", "--out", str(ca)]
    assert main(again) == Exit.USAGE
    assert "is there already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in ca.iterdir()} == before


def test_every_region_gets_all_authorities_of_the_folder(ca: Path, tmp_path: Path) -> None:
    """As it is while one authority takes another's place."""
    old = Signer.new("atoll.internal")
    with (ca / "ca.pem").open("ab") as file:
        file.write(old.certificate)
    out = tmp_path / "eu-west"
    assert issued(ca, out) == Exit.SUCCESS
    context = ssl.create_default_context(cafile=str(out / "ca.pem"))
    assert len(context.get_ca_certs()) == 2


def test_what_can_not_be_used_is_told(ca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert issued(tmp_path / "nowhere", tmp_path / "out") == Exit.FAILED
    assert "nowhere/ca.pem" in capsys.readouterr().err
    (ca / "ca-key.pem").write_bytes(Signer.new().made.key)
    assert issued(ca, tmp_path / "out") == Exit.USAGE
    assert "the key is that of none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("certificates",),
        ("certificates", "make-ca", "--out", "x"),
        ("certificates", "make-ca", "--out", "x", "--domain", "Atoll.Internal"),
        ("certificates", "make-ca", "--out", "x", "--domain", "a..b"),
        ("certificates", "make-ca", "--out", "x", "--domain", f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}"),
        ("certificates", "make-ca", "--out", "x", "--domain", "atoll.internal", "--days", "0"),
        ("certificates", "issue", "--ca", "x", "--out", "x"),
        ("certificates", "issue", "EU", "--ca", "x", "--out", "x"),
        ("certificates", "issue", "a" * 41, "--ca", "x", "--out", "x"),
        ("certificates", "issue", "eu-west.x", "--ca", "x", "--out", "x"),
    ],
)
def test_wrong_usage_makes_nothing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == Exit.USAGE
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    make = ["certificates", "make-ca", "--domain", "x.test", "--out", str(tmp_path / "file" / "ca")]
    assert main(make) == Exit.FAILED
    assert "file" in capsys.readouterr().err
