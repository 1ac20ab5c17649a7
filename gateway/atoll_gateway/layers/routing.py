"""Chooses the regions for a request: residency, then health, then rings by round-trip time, then load."""

from atoll.routing.rank import Ranking
from atoll.topology import Topology, Transit
from atoll_gateway import problems
from atoll_gateway.board import Board
from atoll_gateway.message import Failed, Layer, Request, Response


class Routing:
    """Ranks the regions and refuses a request that none may serve.

    A forwarded request is not routed again: it is served from the own region, or refused for the first hop to go on.
    The response tells the first hop how busy the region is (as ORCA does, the CNCF's Open Request Cost Aggregation), so
    that loads are known faster than by reports, and still known when reports fail.
    """

    def __init__(self, region: str | None, board: Board, following: Layer) -> None:
        self._region = region
        self._board = board
        self._next = following
        self._zone: str | None = None

    def use(self, topology: Topology) -> None:
        """Takes up a topology."""
        self._zone = None if self._region is None else topology.regions[self._region].zone

    async def __call__(self, request: Request) -> Response:
        service = request.service
        if request.forwarded:
            return await self._serve_here(request)
        if not request.zones:
            raise Failed(problems.no_zone(service.name, request.place.country), sent=False, elsewhere=False)
        if self._zone is not None and self._zone not in request.zones and service.transit is Transit.REFUSE:
            assert self._region is not None
            raise Failed(problems.misdirected(service.name, self._region), sent=False, elsewhere=False)
        ranking = self._board.ranking(service, request.zones, request.place)
        request.ranking = ranking
        if not ranking.regions:
            raise Failed(problems.no_region(service.name, _reasons(ranking)), sent=False, retry_after_s=1)
        return await self._next(request)

    async def _serve_here(self, request: Request) -> Response:
        assert self._region is not None, "an entry has no peer listener"
        if self._zone not in request.zones:
            raise Failed(problems.outside_zones(request.service.name, self._region), sent=False, refused=True)
        response = await self._next(request)
        response.headers.append((b"atoll-load", self._board.told(request.service)))
        return response


def _reasons(ranking: Ranking) -> list[str]:
    return [
        f"{candidate.region}: {candidate.reason}"
        for candidate in ranking.candidates
        if not candidate.eligible
    ]
