"""Client address -> place: which source answers, and the classes of address that have no place."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

from atoll.geo.geoip import CityFileError, GeoIp
from atoll.geo.place import PRIVATE, UNKNOWN, Coordinates, Place

geoip = GeoIp()

CORK = {"country": {"iso_code": "IE"}, "location": {"latitude": 51.9, "longitude": -8.47}}


def city_file(path: Path, records: dict[str, Any], ip_version: int = 6) -> Path:
    writer = MMDBWriter(
        ip_version=ip_version, database_type="Atoll-Test-City", ipv4_compatible=ip_version == 6
    )
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("3.80.0.1", "US"),
        ("52.86.10.10", "US"),
        ("8.8.8.8", "US"),
        ("87.32.10.1", "IE"),
        ("86.40.1.1", "IE"),
        ("133.11.0.1", "JP"),
        ("202.12.27.33", "JP"),
        ("1.1.1.1", "AU"),
        ("81.2.69.142", "GB"),
        ("193.99.144.80", "DE"),
        ("193.0.6.139", "NL"),
        ("177.10.1.1", "BR"),
        ("41.0.0.1", "ZA"),
        ("2001:4860:4860::8888", "US"),
        ("2a02:8084::1", "IE"),
        ("2001:200::1", "JP"),
    ],
)
def test_embedded_country_data_on_well_known_addresses(address: str, country: str) -> None:
    place = geoip.locate(address)
    assert place.country == country
    assert place.coordinates is not None
    assert place.source == "geoip-country"


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "192.0.2.1",
        "198.51.100.7",
        "203.0.113.9",
        "198.18.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "2001:db8::1",
        "ff02::1",
        "::ffff:10.0.0.1",
    ],
)
def test_addresses_outside_the_public_internet_are_private(address: str) -> None:
    assert geoip.locate(address) == PRIVATE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "_hidden",
        "8.8.8",
        "8.8.8.8:443",
        "[::1]",
        "8.8.8.8\n",
        "9" * 100_000,
        "2d00::1",
    ],
)
def test_text_that_is_no_address_and_addresses_nobody_knows_are_unknown(text: str) -> None:
    assert geoip.locate(text) == UNKNOWN


def test_a_mapped_address_is_the_ipv4_address() -> None:
    assert geoip.locate("::ffff:87.32.10.1") == geoip.locate("87.32.10.1")


def test_registry_codes_that_are_no_country_are_unknown() -> None:
    assert GeoIp(country_of=lambda _: "EU").locate("8.8.8.8") == UNKNOWN


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_every_address_has_an_answer_that_holds_together(address: IPv4Address | IPv6Address) -> None:
    place = geoip.locate(str(address))
    if place.source == "geoip-country":
        assert place.country is not None
        assert place.coordinates is not None
    else:
        assert place in (PRIVATE, UNKNOWN)


@given(st.text())
def test_no_text_breaks_the_lookup(text: str) -> None:
    assert geoip.locate(text).source in {"geoip-country", "private", "unknown"}


def test_the_place_of_a_country_that_a_proxy_named() -> None:
    place = geoip.country_place("ie", "header")
    assert (place.country, place.source) == ("IE", "header")
    assert place.coordinates is not None
    assert geoip.country_place("XX", "header") == UNKNOWN
    assert geoip.country_place("", "header") == UNKNOWN


def test_a_city_file_wins_over_country_data(tmp_path: Path) -> None:
    path = city_file(tmp_path / "city.mmdb", {"52.208.0.0/13": CORK, "2a05:d018::/36": CORK})
    cork = Place("IE", Coordinates(51.9, -8.47), "geoip-city")
    assert geoip.locate("52.208.10.1").country == "US"
    with GeoIp(city_file=path) as with_file:
        assert with_file.locate("52.208.10.1") == cork
        assert with_file.locate("::ffff:52.208.10.1") == cork
        assert with_file.locate("2a05:d018::1") == cork
        assert with_file.locate("133.11.0.1").country == "JP", (
            "what the file doesn't know is asked of country data"
        )


def test_a_city_file_may_know_private_networks(tmp_path: Path) -> None:
    path = city_file(tmp_path / "office.mmdb", {"10.7.0.0/16": CORK})
    with GeoIp(city_file=path) as with_file:
        assert with_file.locate("10.7.0.1").source == "geoip-city"
        assert with_file.locate("10.8.0.1") == PRIVATE


def test_a_country_file_gives_the_countrys_point(tmp_path: Path) -> None:
    path = city_file(tmp_path / "country.mmdb", {"52.208.0.0/13": {"country": {"iso_code": "IE"}}})
    with GeoIp(city_file=path) as with_file:
        assert with_file.locate("52.208.10.1") == geoip.country_place("IE", "geoip-country")


def test_whole_degrees_written_as_integers_are_understood(tmp_path: Path) -> None:
    path = city_file(tmp_path / "city.mmdb", {"8.8.8.0/24": {"location": {"latitude": 52, "longitude": -8}}})
    with GeoIp(city_file=path) as with_file:
        assert with_file.locate("8.8.8.8") == Place(None, Coordinates(52, -8), "geoip-city")


def test_an_ipv4_only_file_leaves_ipv6_to_country_data(tmp_path: Path) -> None:
    path = city_file(tmp_path / "v4.mmdb", {"52.208.0.0/13": CORK}, ip_version=4)
    with GeoIp(city_file=path) as with_file:
        assert with_file.locate("52.208.10.1").source == "geoip-city"
        assert with_file.locate("2001:4860:4860::8888").country == "US"
        assert with_file.statistics().city_file_errors == 0


def test_a_broken_record_is_counted_and_country_data_answers(tmp_path: Path) -> None:
    nowhere = {"country": {"iso_code": "IE"}, "location": {"latitude": 999.0, "longitude": 0.0}}
    path = city_file(
        tmp_path / "city.mmdb", {"8.8.8.0/24": nowhere, "87.32.0.0/16": {"city": "not a country"}}
    )
    with GeoIp(city_file=path) as with_file:
        assert with_file.locate("8.8.8.8").country == "US"
        assert with_file.locate("87.32.10.1").country == "IE"
        assert with_file.statistics().city_file_errors == 1


def test_a_missing_city_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        CityFileError, match=r"nowhere\.mmdb cannot be read: No such file.*name a MaxMind-format file"
    ):
        GeoIp(city_file=tmp_path / "nowhere.mmdb")


@pytest.mark.parametrize("content", [b"", b"country,latitude,longitude\n" * 10_000])
def test_a_file_of_another_format_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cities.csv"
    path.write_bytes(content)
    with pytest.raises(CityFileError, match=r"cities\.csv is broken or of another format"):
        GeoIp(city_file=path)


def test_repeated_lookups_come_from_a_bounded_memory() -> None:
    asked: list[str] = []

    def country_of(address: str) -> str:
        asked.append(address)
        return "IE"

    small = GeoIp(country_of=country_of, cache_size=2)
    for address in ("8.8.8.8", "8.8.8.8", "9.9.9.9", "1.1.1.1", "8.8.8.8"):
        assert small.locate(address).country == "IE"
    assert asked == ["8.8.8.8", "9.9.9.9", "1.1.1.1", "8.8.8.8"]
    statistics = small.statistics()
    assert (statistics.lookups, statistics.cached, statistics.cache_entries) == (5, 1, 2)


def test_instances_do_not_share_what_they_remember() -> None:
    assert GeoIp(country_of=lambda _: "IE").locate("8.8.8.8").country == "IE"
    assert GeoIp(country_of=lambda _: "JP").locate("8.8.8.8").country == "JP"
