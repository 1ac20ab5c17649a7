"""Naming the ends of a quote: a GeoNames id, or a country code for its largest city."""

from collections.abc import Iterable

from atoll_services.cities import City


class UnknownCityError(LookupError):
    """No city goes by that name; the message says which one and what would be right."""


class CityBook:
    """Looks cities up for quotes. `cities` are given the most populous first."""

    def __init__(self, cities: Iterable[City]) -> None:
        self._by_code: dict[str, City] = {}
        for city in cities:
            self._by_code[str(city.id)] = city
            self._by_code.setdefault(city.country, city)

    def __len__(self) -> int:
        return len(self._by_code)

    def city(self, code: str) -> City:
        """The city of a GeoNames id, or the largest city of an ISO country code in either case.

        Raises `UnknownCityError`.
        """
        city = self._by_code.get(code.upper())
        if city is None:
            raise UnknownCityError(
                f"no city {code!r}; use a GeoNames id such as 2964574 or a country code such as IE"
            )
        return city
