"""An address of each country, so that gateways place a user where the user is.

Country data is all that a gateway has without a city file, so one address a country is enough. They are kept in
`addresses.csv`, made from the data that gateways look addresses up in:

    python -m loadtests.users.addresses > loadtests/users/addresses.csv

A country is left out if the data has no block of 1,024 addresses for it.
"""

import csv
import io
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from ipaddress import IPv4Address

from atoll.geo.countries import country_centroids
from atoll.geo.geoip import GeoIp

_HEADER = ("country", "address")
_FIRST, _END = int(IPv4Address("1.0.0.0")), int(IPv4Address("224.0.0.0"))
_STEPS = (1 << 16, 1 << 13, 1 << 10)
"""Most countries have a large block, and are found at the first."""


def addresses(geoip: GeoIp) -> Mapping[str, str]:
    """An address of every country that has one, by ISO code; only those that `geoip` places there today."""
    text = resources.files(__package__).joinpath("addresses.csv").read_text(encoding="utf-8")
    rows = csv.reader(io.StringIO(text))
    next(rows)
    return {country: address for country, address in rows if geoip.locate(address).country == country}


def find(geoip: GeoIp, countries: Collection[str]) -> dict[str, str]:
    """The address in the middle of the first block of each country, by ISO code in alphabetical order."""
    found: dict[str, str] = {}
    for step in _STEPS:
        for address in _candidates(step):
            country = geoip.locate(address).country
            if country is not None and country in countries:
                found.setdefault(country, address)
        if len(found) == len(countries):
            break
    return dict(sorted(found.items()))


def _candidates(step: int) -> Iterator[str]:
    return (str(IPv4Address(block + step // 2 + 1)) for block in range(_FIRST, _END, step))


def main() -> None:
    """Writes a fresh `addresses.csv` to standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_HEADER)
    with GeoIp(cache_size=0) as geoip:
        writer.writerows(find(geoip, country_centroids()).items())


if __name__ == "__main__":
    main()
