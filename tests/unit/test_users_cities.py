import math
import random
from collections import Counter
from pathlib import Path

import pytest

from atoll.geo.geoip import GeoIp
from atoll.topology import load
from atoll_services.cities import City, load_cities
from loadtests.users import goods
from loadtests.users.addresses import addresses, find
from loadtests.users.cities import BUSIEST_HOUR, QUIET, Inhabitants, NoCities, activity
from loadtests.users.network import Network

LOCAL = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"
DRAWN = 20_000


@pytest.fixture(scope="module")
def cities() -> tuple[City, ...]:
    return load_cities(15000)


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    with GeoIp() as geoip:
        return dict(addresses(geoip))


def misfit(drawn: Counter[str], population: Counter[str]) -> float:
    """The largest deviation of a large country's share from that of its people, in standard deviations."""
    people, number = population.total(), drawn.total()
    shares = {country: count / people for country, count in population.items() if count > 0.005 * people}
    return max(
        abs(drawn[country] - number * share) / math.sqrt(number * share * (1 - share))
        for country, share in shares.items()
    )


def populations(cities: tuple[City, ...], known: dict[str, str]) -> Counter[str]:
    people: Counter[str] = Counter()
    for city in cities:
        people[city.country] += city.population if city.country in known else 0
    return people


def test_users_live_where_people_live(cities: tuple[City, ...], known: dict[str, str]) -> None:
    inhabitants = Inhabitants(cities, known)
    rng = random.Random(5)
    drawn = Counter(inhabitants.draw(rng).city.country for _ in range(DRAWN))
    assert misfit(drawn, populations(cities, known)) < 4.5


def test_control_a_draw_of_cities_alone_is_another_world(
    cities: tuple[City, ...], known: dict[str, str]
) -> None:
    rng = random.Random(5)
    drawn = Counter(rng.choice(cities).country for _ in range(DRAWN))
    assert misfit(drawn, populations(cities, known)) > 10


def test_the_same_seed_draws_the_same_users(cities: tuple[City, ...], known: dict[str, str]) -> None:
    inhabitants = Inhabitants(cities, known)
    first, second = (
        [inhabitants.draw(rng) for _ in range(50)] for rng in (random.Random(9), random.Random(9))
    )
    assert first == second


def test_countries_can_be_chosen(cities: tuple[City, ...], known: dict[str, str]) -> None:
    inhabitants = Inhabitants(cities, known, ("IE", "JP"))
    rng = random.Random(2)
    assert {inhabitants.draw(rng).city.country for _ in range(500)} == {"IE", "JP"}
    with pytest.raises(NoCities, match="QQ"):
        Inhabitants(cities, known, ("QQ",))


def test_every_address_is_one_of_its_country(known: dict[str, str]) -> None:
    with GeoIp() as geoip:
        for country, address in known.items():
            assert geoip.locate(address).country == country
    assert len(known) > 220, "make addresses.csv anew: python -m loadtests.users.addresses"


def test_nearly_everybody_has_an_address(cities: tuple[City, ...], known: dict[str, str]) -> None:
    people = sum(city.population for city in cities)
    assert sum(city.population for city in cities if city.country in known) > 0.999 * people


def test_an_address_that_has_moved_to_another_country_is_left_out() -> None:
    with GeoIp(country_of=lambda _: "IE") as geoip:
        assert addresses(geoip).keys() == {"IE"}


def test_addresses_are_found_in_the_country_data() -> None:
    with GeoIp(country_of=lambda address: "JP" if address.startswith("133.") else None) as geoip:
        assert find(geoip, {"JP"}) == {"JP": "133.0.128.1"}


def test_activity_follows_the_sun() -> None:
    assert activity(0.0, BUSIEST_HOUR) == pytest.approx(1.0)
    assert activity(0.0, BUSIEST_HOUR + 12.0) == pytest.approx(QUIET)
    assert activity(150.0, BUSIEST_HOUR - 10.0) == pytest.approx(1.0), "ten hours ahead"
    assert activity(-75.0, BUSIEST_HOUR + 5.0 + 24.0) == pytest.approx(1.0)


def test_users_follow_the_sun(cities: tuple[City, ...], known: dict[str, str]) -> None:
    inhabitants = Inhabitants(cities, known, ("JP", "US"))
    rng = random.Random(4)

    def japanese(utc_hours: float) -> float:
        drawn = Counter(inhabitants.draw_awake(rng, utc_hours).city.country for _ in range(4000))
        return drawn["JP"] / drawn.total()

    afternoon_in_japan, afternoon_in_america = japanese(BUSIEST_HOUR - 9.0), japanese(BUSIEST_HOUR + 6.0)
    assert afternoon_in_japan > 2 * afternoon_in_america


def test_round_trips_are_those_of_the_city(cities: tuple[City, ...]) -> None:
    network = Network(load(LOCAL))
    by_id = {city.id: city for city in cities}
    dublin, tokyo, seattle, boston = (by_id[number] for number in (2964574, 1850147, 5809844, 4930956))
    assert [network.nearest(city) for city in (dublin, tokyo, seattle, boston)] == [
        "eu-west",
        "ap-northeast",
        "us-east",
        "us-east",
    ]
    assert network.round_trips(boston)["us-east"] < network.round_trips(seattle)["us-east"], (
        "one country, two cities"
    )
    assert 0.009 < network.round_trips(dublin)["eu-west"] < 0.02
    assert 0.2 < network.round_trips(dublin)["ap-northeast"] < 0.3


def test_what_the_load_buys_is_in_the_catalog(cities: tuple[City, ...]) -> None:
    ids = {str(city.id) for city in cities}
    assert len(set(goods.ARTICLES)) == 20 and goods.SALE not in goods.ARTICLES
    assert ids >= goods.stock(50).keys()
    assert goods.stock(50)[goods.SALE] == 50
