"""The headers that the gateway itself writes for an attempt."""

from typing import get_args

from atoll.geo.place import Coordinates, Place, PlaceSource
from atoll.telemetry.trace import Ids
from atoll_gateway.headers import write_head
from atoll_gateway.message import Headers, Request

_SOURCES: dict[str, PlaceSource] = {source: source for source in get_args(PlaceSource)}
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})


class RequestHead:
    """Writes the heads of attempts."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def to_replica(self, request: Request) -> bytes:
        """For a replica of the own region; Serve is told how long it may take."""
        timeout = b"%.3f" % request.deadline.remaining_s
        return self._write(request, [(b"x-request-timeout-seconds", timeout)])

    def to_peer(self, request: Request) -> bytes:
        """For a gateway of another region, which is told what it can't find out for itself."""
        headers = [
            (b"atoll-hop", b"1"),
            (b"atoll-deadline-ms", b"%d" % request.deadline.remaining_ms),
            (b"atoll-zones", ",".join(sorted(request.zones)).encode()),
            (b"atoll-place", write_place(request.place)),
        ]
        if request.explain:
            headers.append((b"atoll-explain", b"1"))
        return self._write(request, headers)

    def _write(self, request: Request, special: Headers) -> bytes:
        common = [
            (b"x-request-id", request.id.encode()),
            (b"traceparent", self._ids.child(request.trace).header()),
            (b"x-forwarded-for", request.client.encode()),
            (b"x-forwarded-proto", b"http"),
        ]
        return write_head(request.method, request.target, request.headers, common, _framing(request), special)


def _framing(request: Request) -> Headers:
    """How the body is framed on the way on; nothing for a request without one."""
    if request.content_length is None:
        return [(b"transfer-encoding", b"chunked")]
    if request.content_length == 0 and request.method in _BODILESS:
        return []
    return [(b"content-length", b"%d" % request.content_length)]


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
