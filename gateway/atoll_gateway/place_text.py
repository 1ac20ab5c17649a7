"""A place as one header value: how gateways tell each other where a client is."""

from typing import get_args

from atoll.geo.place import Coordinates, Place, PlaceSource

_SOURCES: dict[str, PlaceSource] = {source: source for source in get_args(PlaceSource)}


def write_place(place: Place) -> bytes:
    """A place as one header value: ``country;latitude,longitude;source``, with empty parts for what isn't known."""
    at = place.coordinates
    point = "" if at is None else f"{at.latitude:.4f},{at.longitude:.4f}"
    return f"{place.country or ''};{point};{place.source}".encode()


def read_place(value: bytes) -> Place:
    """The reverse of `write_place`. Raises `ValueError` for anything else."""
    country, point, source = value.decode("ascii").split(";")
    if source not in _SOURCES:
        raise ValueError(f"unknown source of a place {source!r}")
    coordinates = None
    if point:
        latitude, longitude = point.split(",")
        coordinates = Coordinates(float(latitude), float(longitude))
    return Place(country or None, coordinates, _SOURCES[source])
