"""From what provisioning says to a topology that Atoll uses."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from tests.unit.deployments import deployed

from atoll.cli import documents, main
from atoll.cli.exits import Exit
from atoll.topology import load
from atoll.topology.wiring import Address

TOPOLOGIES = Path(__file__).parents[2] / "infra" / "topologies"
SHOP = TOPOLOGIES / "shop.toml"
Run = Callable[..., int]


THREE = ("us-east", "eu-west", "ap-northeast")


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command with a document on standard input, into ``topology.toml``."""

    def run(document: object, *options: str, base: Path | None = SHOP) -> int:
        text = document if isinstance(document, str) else json.dumps(document)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        given = [] if base is None else ["--base", str(base)]
        return main(
            ["topology", "import", "-", *given, "--output", str(tmp_path / "topology.toml"), *options]
        )

    return run


def test_it_names_every_region_with_its_gateways_stores_and_links(imports: Run, tmp_path: Path) -> None:
    assert imports(deployed(*THREE)) == Exit.SUCCESS
    path = tmp_path / "topology.toml"
    assert main(["topology", "check", str(path)]) == Exit.SUCCESS
    made, base = load(path), load(SHOP)
    assert tuple(made.regions) == THREE
    assert made.revision == base.revision + 1
    for name, region in made.regions.items():
        assert region.addresses is not None
        assert region.addresses.public == f"https://{name}.shop.example.com"
        assert Address.parse(region.addresses.gateways) == Address(f"gateways.{name}.atoll.internal", 8443)
        assert Address.parse(region.addresses.agent).port == 8444
        assert region.addresses.head == f"head.{name}.atoll.internal"
        assert region.stores.cache == f"rediss://atoll@{name}.cache.example.com:6379"
        assert region.stores.state == f"redis://state.{name}.atoll.internal:6379"
    assert made.links == base.links  # measured ones stay
    assert made.services == base.services
    assert made.namespaces == base.namespaces


def test_the_document_of_the_test_is_what_its_schema_says() -> None:
    schema = json.loads(documents.schema_file("atoll.deployment/1").read_text())
    jsonschema.validate(deployed(*THREE), schema)


def test_a_link_that_nobody_has_measured_is_estimated_and_says_so(imports: Run, tmp_path: Path) -> None:
    assert imports(deployed(*THREE, "eu-south")) == Exit.SUCCESS
    path = tmp_path / "topology.toml"
    made = load(path)
    assert made.link("us-east", "eu-west").rtt_ms == 74
    assert 20 < made.link("eu-west", "eu-south").rtt_ms < 50  # 1,400 km
    assert path.read_text().count("estimated from the distance") == 3
    assert imports(deployed(*THREE, "eu-south"), base=None) == Exit.SUCCESS
    assert path.read_text().count("estimated from the distance") == 3  # until somebody measures


def test_what_was_written_by_hand_stays_as_it_is(imports: Run, tmp_path: Path) -> None:
    assert imports(deployed(*THREE)) == Exit.SUCCESS
    text = (tmp_path / "topology.toml").read_text()
    services = SHOP.read_text().partition("[services.catalog]")[2]
    assert text.endswith(services)
    assert "# It commits a purchase's key" in text


def test_the_same_again_changes_nothing_and_a_change_counts_up(imports: Run, tmp_path: Path) -> None:
    path = tmp_path / "topology.toml"
    assert imports(deployed(*THREE)) == Exit.SUCCESS
    first = path.read_text()
    assert imports(deployed(*THREE), base=None) == Exit.SUCCESS
    assert path.read_text() == first
    moved = deployed(*THREE)
    moved["regions"]["eu-west"]["cache"] = "rediss://atoll@elsewhere.example.com:6379"
    assert imports(moved, base=None) == Exit.SUCCESS
    assert load(path).revision == 3
    assert "\n\n\n" not in path.read_text()
    assert imports(deployed(*THREE, "eu-south")) == Exit.SUCCESS  # from the base, which has revision 1
    assert load(path).revision == 4


def test_a_zone_without_a_region_is_left_out_unless_it_is_confined(
    imports: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = deployed("us-east", "eu-west")
    base = tmp_path / "base.toml"
    local = (TOPOLOGIES / "local.toml").read_text()
    base.write_text(local)
    assert imports(two, base=base) == Exit.SUCCESS
    assert set(load(tmp_path / "topology.toml").zones) == {"us", "eu"}
    (tmp_path / "topology.toml").unlink()
    base.write_text(local.replace("[zones.apac]\n", "[zones.apac]\nconfined = true\n"))
    assert imports(two, base=base) == Exit.USAGE
    assert "zones.apac is confined" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("gateways", "gateways.eu-west.atoll.internal", "host:port"),
        ("agent", "http://agent:8444", "host:port"),
        ("agent", "agent:0", "1 to 65535"),
        ("public_url", "https://shop.example.com/eu", "without a path"),
        ("cache", "rediss://atoll:secret@cache.example.com:6379", "leave password"),
        ("state", "http://state:6379", "must match"),
        ("head", "head:6381", "must match"),
        ("latitude", 153, "less than or equal to 90"),
        ("zone", "eruope", "no such zone of the base"),
        ("adress", "10.0.0.1", "keys allowed here"),
        ("head", None, "regions.eu-west.head"),
    ],
)
def test_bad_input_is_refused_by_name_and_changes_nothing(
    key: str, value: object, says: str, imports: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "topology.toml"
    assert imports(deployed(*THREE)) == Exit.SUCCESS
    before = path.read_bytes()
    bad = deployed(*THREE)
    bad["regions"]["eu-west"][key] = value
    assert imports(bad) == Exit.USAGE
    error = capsys.readouterr().err
    assert says in error
    assert "nothing was changed" in error
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["topology.toml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Invalid JSON"),
        ("[]", "(file)"),
        ('{"atoll": {"value": {}}}', "schema"),
        (json.dumps(deployed()), "regions"),
    ],
)
def test_what_is_no_deployment_is_refused(
    text: str, says: str, imports: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imports(text) == Exit.USAGE
    assert says.lower() in capsys.readouterr().err.lower()


def test_a_deployment_that_the_services_don_t_fit_is_refused(
    imports: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imports(deployed("us-east", "eu-west")) == Exit.USAGE  # strong namespaces need three regions
    assert "namespaces." in capsys.readouterr().err
    assert not (tmp_path / "topology.toml").exists()


def test_regions_don_t_come_and_go_at_once(
    imports: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imports(deployed(*THREE)) == Exit.SUCCESS
    assert imports(deployed("us-east", "eu-west", "eu-south"), base=TOPOLOGIES / "local.toml") == Exit.USAGE
    assert "at once" in capsys.readouterr().err


def test_a_file_of_another_deployment_is_not_written_over(
    imports: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imports(deployed(*THREE)) == Exit.SUCCESS
    assert imports(deployed(*THREE) | {"name": "other"}) == Exit.USAGE
    assert "another file" in capsys.readouterr().err


def test_it_needs_something_to_stand_on(imports: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert imports(deployed(*THREE), base=None) == Exit.USAGE
    assert "--base" in capsys.readouterr().err


def test_without_an_output_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "deployment.json"
    source.write_text(json.dumps(deployed(*THREE)))
    assert main(["topology", "import", str(source), "--base", str(SHOP)]) == Exit.SUCCESS
    made = tmp_path / "made.toml"
    made.write_text(capsys.readouterr().out)
    assert load(made).revision == 2
    assert main(["topology", "import", str(tmp_path / "none.json"), "--base", str(SHOP)]) == Exit.USAGE
    assert "none.json" in capsys.readouterr().err
