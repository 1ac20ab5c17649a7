"""Which region keeps a key: its home.

The home follows from the topology and the client's place alone, never from health or load, so a client's retries find
it again through any gateway and the entry, whatever has failed in between. It is inside the request's zones, so a key
and its answer are stored nowhere else.
"""

from atoll.geo.place import Coordinates
from atoll.routing.residency import service_zones
from atoll.topology import Topology
from atoll_gateway.board import Board
from atoll_gateway.keys.contract import Keys, KeysUnavailable
from atoll_gateway.keys.peer import PeerKeys
from atoll_gateway.keys.store import StoreKeys
from atoll_gateway.message import Request
from atoll_gateway.peers import Peers

KEPT_HOMES = 4096


class KeyHomes:
    """The homes of keys, and the way to each from this gateway."""

    def __init__(
        self, region: str | None, topology: Topology, board: Board, peers: Peers, own: StoreKeys | None
    ) -> None:
        """`own` are the own region's records; None for an entry, and for a gateway without a state store."""
        self._region = region
        self._topology = topology
        self._board = board
        self._own = own
        self._peers = peers
        self._others = {name: PeerKeys(name, peers) for name in peers.regions}
        self._homes: dict[tuple[str, frozenset[str], Coordinates | None], str | None] = {}

    def use(self, topology: Topology) -> None:
        """Takes up another topology. Call it after the peers' and the board's."""
        self._topology = topology
        self._others = {
            name: self._others.get(name) or PeerKeys(name, self._peers) for name in self._peers.regions
        }
        self._homes.clear()

    def home(self, request: Request) -> str | None:
        """The region nearest to the client, of those that run the service and lie in the request's zones."""
        key = (request.service.name, request.zones, request.place.coordinates)
        try:
            return self._homes[key]
        except KeyError:
            if len(self._homes) >= KEPT_HOMES:
                self._homes.clear()
            found = self._homes[key] = self._nearest(request)
            return found

    def _nearest(self, request: Request) -> str | None:
        regions = self._topology.regions
        far_ms = self._board.from_place(request.place)
        fit = [name for name in request.service.regions if regions[name].zone in request.zones]
        return min(fit, key=lambda name: (far_ms[name], name), default=None)

    def keys(self, home: str) -> Keys:
        """The records of a region. Raises `KeysUnavailable` if this gateway knows no way to them."""
        keys = self._own if home == self._region else self._others.get(home)
        if keys is None:
            raise KeysUnavailable(f"no way leads to the records of {home}", sent=False)
        return keys

    def allows(self, service: str) -> bool:
        """Whether keys of a service may be kept in the own region, by the topology in force here."""
        known = self._topology.services.get(service)
        return (
            known is not None
            and self._region is not None
            and self._topology.regions[self._region].zone in service_zones(self._topology, known)
        )
