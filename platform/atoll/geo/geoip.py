"""Client address -> place.

Two sources, the better one first:

1. A MaxMind-format file (GeoLite2, DB-IP, or one that an operator made), if there is one. It may also know
   the operator's own private networks, so it is asked about every address.
2. The country data embedded in `iptocc`: the delegations of the five regional internet registries, refreshed
   nightly, IPv4 and IPv6, 2 MiB in memory. It says to which country a block was *assigned*. For access
   providers that is nearly always where the client is. It is wrong for addresses that a company uses far
   from home: an Amazon address in Dublin counts as American. Where that matters, name a city file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

import iptocc
import maxminddb

from atoll.geo.countries import country_centroids
from atoll.geo.place import PRIVATE, UNKNOWN, Coordinates, Place, PlaceSource

CACHED_ADDRESSES = 8192
"""Places kept by default: about 3 MiB when full."""

_LONGEST_ADDRESS = 64
"""Longer text is no address, scope included, and isn't kept: a header must not be able to fill the memory."""

Address = IPv4Address | IPv6Address

CountryOf = Callable[[str], str | None]
"""Embedded country data: ISO code of a public address in text form, None where there is none."""


class CityFileError(Exception):
    """The city file cannot be used; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class GeoIpStatistics:
    """`lookups` were answered, `cached` of them from memory; `city_file_errors` counts broken records."""

    lookups: int
    cached: int
    cache_entries: int
    city_file_errors: int


class GeoIp:
    """Finds the place of a client. Safe to share between threads.

    `city_file` is memory-mapped: many processes share one copy. Raises `CityFileError` if it is missing or
    not a MaxMind-format file.
    """

    def __init__(
        self,
        *,
        city_file: Path | None = None,
        country_of: CountryOf = iptocc.country_code,
        centroids: Mapping[str, Coordinates] | None = None,
        cache_size: int = CACHED_ADDRESSES,
    ) -> None:
        self._centroids = country_centroids() if centroids is None else centroids
        self._country_of = country_of
        self._city_file = None if city_file is None else _CityFile(city_file)
        self._cached = lru_cache(maxsize=cache_size)(self._find)

    def locate(self, address: str) -> Place:
        """The place of a client address in text form. Never fails.

        - An IPv4 address mapped into IPv6 (`::ffff:8.8.8.8`) is looked up as the IPv4 address that it is.
        - Known to the city file: its country and coordinates, `geoip-city`; if it says no more than the
          country, that country's point, `geoip-country`.
        - Not of the public internet (private, loopback, link-local, carrier-grade NAT, documentation,
          multicast, reserved): `private`, nothing else.
        - Known to the country data: the country and its point, `geoip-country`.
        - Anything else, text that is no address included: `unknown`, nothing else.
        """
        if len(address) > _LONGEST_ADDRESS:
            return UNKNOWN
        return self._cached(address)

    def country_place(self, country: str, source: PlaceSource) -> Place:
        """The place of a country given by ISO code, in either case; `UNKNOWN` if there is no such country.

        For countries that somebody else looked up, such as a trusted proxy in a header.
        """
        code = country.upper()
        point = self._centroids.get(code)
        return UNKNOWN if point is None else Place(country=code, coordinates=point, source=source)

    def statistics(self) -> GeoIpStatistics:
        cache = self._cached.cache_info()
        return GeoIpStatistics(
            lookups=cache.hits + cache.misses,
            cached=cache.hits,
            cache_entries=cache.currsize,
            city_file_errors=0 if self._city_file is None else self._city_file.errors,
        )

    def close(self) -> None:
        """Lets go of the city file. Nothing may be looked up afterwards."""
        if self._city_file is not None:
            self._city_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find(self, text: str) -> Place:
        try:
            address = ip_address(text)
        except ValueError:
            return UNKNOWN
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if (
            self._city_file is not None
            and (place := self._from_city_file(self._city_file, address)) is not None
        ):
            return place
        if not address.is_global or address.is_multicast or address.is_reserved:
            return PRIVATE
        country = self._country_of(str(address))
        # The registries also use codes of no country ("EU" for blocks all over Europe); those have no point.
        return UNKNOWN if country is None else self.country_place(country, "geoip-country")

    def _from_city_file(self, city_file: "_CityFile", address: Address) -> Place | None:
        entry = city_file.find(address)
        if entry is None:
            return None
        if entry.coordinates is not None:
            return Place(country=entry.country, coordinates=entry.coordinates, source="geoip-city")
        if entry.country is not None:
            place = self.country_place(entry.country, "geoip-country")
            return None if place is UNKNOWN else place
        return None


@dataclass(frozen=True, slots=True)
class _CityEntry:
    country: str | None
    coordinates: Coordinates | None


class _CityFile:
    """A MaxMind-format file, of cities or of countries alone."""

    def __init__(self, path: Path) -> None:
        advice = "name a MaxMind-format file (.mmdb), or none to use the embedded country data"
        try:
            self._reader = maxminddb.open_database(path)
        except OSError as error:
            raise CityFileError(
                f"city file {path} cannot be read: {error.strerror or error}; {advice}"
            ) from error
        except maxminddb.InvalidDatabaseError as error:
            raise CityFileError(
                f"city file {path} is broken or of another format: {error}; {advice}"
            ) from error
        self._knows_ipv6 = self._reader.metadata().ip_version == 6
        self.errors = 0

    def find(self, address: Address) -> _CityEntry | None:
        """What the file says about an address, None if nothing. A broken record is counted and ignored."""
        if isinstance(address, IPv6Address) and not self._knows_ipv6:
            return None
        try:
            return _entry(self._reader.get(address))
        except (
            maxminddb.InvalidDatabaseError,
            ValueError,
        ):  # ValueError: impossible coordinates, text not UTF-8
            self.errors += 1
            return None

    def close(self) -> None:
        self._reader.close()


def _entry(record: object) -> _CityEntry | None:
    """Reads the fields `country.iso_code` and `location` that all MaxMind-format city files share."""
    country: str | None = None
    coordinates: Coordinates | None = None
    match record:
        case {"country": {"iso_code": str(code)}}:
            country = code.upper()
    match record:
        case {
            "location": {"latitude": float() | int() as latitude, "longitude": float() | int() as longitude}
        }:
            coordinates = Coordinates(latitude, longitude)
    return None if country is None and coordinates is None else _CityEntry(country, coordinates)
