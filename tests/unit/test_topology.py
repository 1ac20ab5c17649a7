"""A topology file is checked as a whole; every message names the key, the value and what would be right."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.topology import TopologyError, load, parse
from atoll.topology.units import seconds, size

FOLDER = Path(__file__).parents[2] / "infra" / "topologies"
LOCAL = (FOLDER / "local.toml").read_text()
LINK = """[[links]]
between = ["us-east", "eu-west"] # East US, North Europe
rtt_ms = 74
jitter_ms = 2
"""


def swap(old: str, new: str) -> Callable[[], str]:
    assert old in LOCAL
    return lambda: LOCAL.replace(old, new, 1)


def add(text: str) -> Callable[[], str]:
    return lambda: LOCAL + text


@pytest.mark.parametrize(
    ("regions", "file"),
    [
        (("us-east", "eu-west", "ap-northeast"), "local.toml"),
        (("eu-west", "eu-central", "us-east"), "residency.toml"),
        (None, "world.toml"),
    ],
)
def test_the_files_that_come_with_it_are_sound(file: str, regions: tuple[str, ...] | None) -> None:
    topology = load(FOLDER / file)
    assert regions is None or tuple(topology.regions) == regions
    assert regions is not None or len(topology.regions) >= 8
    for a in topology.regions:
        for b in topology.regions:
            assert (topology.rtt_ms(a, b) > 0) == (a != b)
    assert all(service.regions for service in topology.services.values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (swap("timeout = ", "timeot = "), ["services.catalog.timeot", "'timeout'"]),
        (swap("latitude = 38.95", "latitude = 138.95"), ["regions.us-east.latitude", "138.95", "90"]),
        (swap("longitude = -77.45", 'longitude = "west"'), ["regions.us-east.longitude", "'west'", "number"]),
        (swap('zone = "us"', 'zone = "usa"'), ["regions.us-east.zone", "'usa'", "did you mean 'us'"]),
        (add('[zones.latam]\ncountries = ["BR"]\n'), ["zones.latam", "has no region"]),
        (add('[zones.uk]\ncountries = ["IE"]\n'), ["zones.uk.countries", "'IE'", "'eu'"]),
        (swap(LINK, ""), ["links", "'us-east'", "'eu-west'", "rtt_ms"]),
        (add(LINK), ["links.3.between", "links.0"]),
        (
            swap('between = ["us-east", "eu-west"]', 'between = ["us-east", "us-east"]'),
            ["two different regions"],
        ),
        (swap("jitter_ms = 2", "jitter_ms = 40"), ["links.0.jitter_ms", "40", "74"]),
        (swap("rtt_ms = 74", "rtt_ms = -1"), ["links.0.rtt_ms", "-1", "greater than 0"]),
        (swap('"/quote-eu"', '"/quote"'), ["services.quote-eu.route_prefix", "'/quote'", "'quote'"]),
        (swap('"/quote-eu"', '"/quote/eu"'), ["services.quote-eu.route_prefix", "overlaps"]),
        (swap('"/quote-eu"', '"/-/eu"'), ["services.quote-eu.route_prefix", "reserved"]),
        (
            swap('residency = ["eu"]', 'residency = ["europe"]'),
            ["services.quote-eu.residency", "'europe'", "known"],
        ),
        (
            swap('residency = ["eu"]', 'residency = ["eu"]\nregions = ["us-east"]'),
            ["services.quote-eu.regions", "'us-east'", "outside residency"],
        ),
        (swap('timeout = "5s"', 'timeout = "5"'), ["services.catalog.timeout", "'5'", "'10s'"]),
        (swap("maximum = 4", "maximum = 0"), ["services.catalog.replicas.maximum", "0"]),
        (
            swap("target_in_flight = 16", "target_in_flight = 100"),
            ["services.catalog.replicas.max_in_flight", "64", "at least 200", "twice target_in_flight"],
        ),
        (
            swap("max_in_flight = 64", "max_in_flight = 31"),
            ["services.catalog.replicas.max_in_flight", "31", "at least 32"],
        ),
        (
            add("[routing]\nspill_start = 0.25\n"),
            [
                "services.quote.replicas.target_in_flight",
                "below 16",
                "routing.spill_start 0.25",
                "64",
                "spill",
            ],
        ),
        (
            add("[bulkhead]\nsheddable_share = 0.2\n"),
            [
                "services.quote-eu.replicas.target_in_flight",
                "below 12.8",
                "sheddable_share 0.2",
                "turned away",
            ],
        ),
        (add('[autoscaling]\nlook_back = "0s"\n'), ["autoscaling.look_back", "'0s'", "more than zero"]),
        (add('[autoscaling]\nlook_back = "500ms"\n'), ["autoscaling.look_back", "'500ms'", "at least 1s"]),
        (add('[health]\nsilence = "100ms"\n'), ["health.silence", "'100ms'", "probe_interval"]),
        (add('[steering]\ndefault_region = "mars"\n'), ["steering.default_region", "'mars'", "known"]),
        (add('[geo]\ntrusted_proxies = ["10.0.0.0/33"]\n'), ["geo.trusted_proxies", "10.0.0.0/33"]),
        (add('[regions.us-east]\ntitle = "again"\n'), ["not TOML", "us-east"]),
        (swap("revision = 1", "revision = 0"), ["revision", "0", "1"]),
        (
            swap('schema = "atoll.topology/1"', 'schema = "atoll.topology/9"'),
            ["schema", "9", "atoll.topology/1"],
        ),
        (lambda: LOCAL[: LOCAL.index("rtt_ms = 165") + 8], ["not TOML", "nvalid"]),
        (lambda: "", ["schema", "regions", "missing"]),
    ],
)
def test_a_mistake_is_named(text: Callable[[], str], says: list[str]) -> None:
    with pytest.raises(TopologyError) as refusal:
        parse(text(), Path("mine.toml"))
    message = str(refusal.value)
    assert message.startswith("mine.toml: ")
    assert "nothing was changed" in message
    for part in says:
        assert part in message


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_what_gateways_hold_back_or_spill_never_starves_autoscaling(file: Path) -> None:
    """In the files that come with it, with room to spare: full replicas want four times as many."""
    topology = load(file)
    for service in topology.services.values():
        replicas = service.replicas
        assert replicas.max_in_flight >= 2 * replicas.target_in_flight
        assert topology.routing.spill_start * replicas.max_in_flight > 2 * replicas.target_in_flight
        assert topology.bulkhead.sheddable_share * replicas.max_in_flight > 2 * replicas.target_in_flight
        assert replicas.asking(3 * replicas.max_in_flight) == 6 * replicas.target_in_flight


def test_an_origin_is_not_autoscaled_so_its_places_are_its_own() -> None:
    parse(
        LOCAL
        + """[services.shop]
kind = "origin"
route_prefix = "/shop"
origins.us-east = ["http://10.0.0.7:80"]
replicas.max_in_flight = 4
"""
    )


def test_all_mistakes_are_told_at_once() -> None:
    text = LOCAL.replace("latitude = 38.95", "latitude = 138.95").replace("timeout = ", "timeot = ")
    with pytest.raises(TopologyError) as refusal:
        parse(text)
    assert len(refusal.value.problems) == 4


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"none\.toml(.|\n)*No such file"):
        load(tmp_path / "none.toml")


def test_the_digest_is_of_the_meaning() -> None:
    rewritten = "# another comment\n" + LOCAL.replace(" = ", "   =   ")
    assert parse(LOCAL).digest == parse(rewritten).digest
    assert parse(LOCAL).digest != parse(LOCAL.replace("rtt_ms = 74", "rtt_ms = 75")).digest


@given(st.text(max_size=400))
def test_no_text_brings_it_down(text: str) -> None:
    with pytest.raises(TopologyError):
        parse(text)


@given(st.integers(min_value=0, max_value=len(LOCAL) - 1))
def test_a_file_cut_short_anywhere_is_sound_or_refused(length: int) -> None:
    with contextlib.suppress(TopologyError):
        assert parse(LOCAL[:length]).regions


@pytest.mark.parametrize(("text", "value"), [("250ms", 0.25), ("1.5s", 1.5), ("2min", 120.0)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "5 s", "5S", "1d", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="250ms"):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("512B", 512), ("64KiB", 65536), ("10MiB", 10 * 1024**2)])
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "10", "10MB", "1.5MiB", "-1B"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="64KiB"):
        size(text)
