"""What gateways know of each other's load, and which gateway of a region gets a request."""

import json
import random
from pathlib import Path

import pytest

from atoll.clock import ManualClock
from atoll.geo.rtt import RoundTripModel
from atoll.routing.rank import RegionView
from atoll.topology import HealthPolicy, OutlierPolicy, Topology, load
from atoll.topology.wiring import Address, PeerGateway
from atoll_gateway.board import Board, RegionLoad
from atoll_gateway.peer_report import PEER_REPORT, PeerReport
from atoll_gateway.peers import LOAD_FRESH_S, Peer, PeerLoad, Peers
from atoll_gateway.replicas import Replicas
from atoll_gateway.upstream import Upstream

OWN, OTHER = "us-east", "eu-west"


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load(Path(__file__).parents[2] / "infra/topologies/local.toml")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now=1000.0)


def gateway(region: str, number: int) -> PeerGateway:
    return PeerGateway(region, f"{region}/gateway-{number}", Address("127.0.0.1", 1))


@pytest.fixture
def peers(clock: ManualClock) -> Peers:
    made = Peers(
        [gateway(OTHER, 1), gateway(OTHER, 2)],
        lambda peer: Upstream(peer.address.host, peer.address.port),
        clock,
        random.Random(1),
        HealthPolicy(),
        lambda: None,
        siblings=[gateway(OWN, 2)],
        outlier=OutlierPolicy(),
    )
    for peer in (*made.of(OTHER), *made.siblings):
        peer.health.probe_answered()
    return made


@pytest.fixture
def board(topology: Topology, clock: ManualClock, peers: Peers) -> Board:
    replicas = Replicas(lambda at: Upstream(at.host, at.port), clock, random.Random(1), lambda: None)
    replicas.update({"quote": (Address("127.0.0.1", 2), Address("127.0.0.1", 3))})
    return Board(OWN, topology, peers, replicas, lambda: False, RoundTripModel(), clock)


class TestLoad:
    def test_a_region_s_load_is_the_sum_over_its_gateways(
        self, topology: Topology, clock: ManualClock, peers: Peers, board: Board
    ) -> None:
        quote = topology.services["quote"]
        for peer, told in zip(peers.of(OTHER), (b"5/40", b"7/40"), strict=True):
            peer.told("quote", told, clock.now)
        assert board.load(quote, OTHER) == RegionLoad(12, 40)
        assert board.capacity(OTHER, "quote") == 40
        assert board.capacity(OTHER, "nobody-knows-it") is None

    def test_the_own_region_s_is_that_of_the_replicas_here_and_the_siblings(
        self, topology: Topology, clock: ManualClock, peers: Peers, board: Board
    ) -> None:
        quote = topology.services["quote"]
        capacity = 2 * quote.replicas.max_in_flight
        assert board.load(quote, OWN) == RegionLoad(0, capacity)
        (sibling,) = peers.siblings
        sibling.told("quote", b"9/1", clock.now)
        assert board.load(quote, OWN) == RegionLoad(9, capacity)
        assert board.told(quote) == b"0/%d" % capacity, "a gateway tells of its own requests alone"

    @pytest.mark.parametrize(("known", "load"), [(1, 12), (2, 10)])
    def test_one_address_for_all_gateways_speaks_for_those_behind_it(
        self, known: int, load: int, topology: Topology, clock: ManualClock, board: Board, peers: Peers
    ) -> None:
        """Where each is known by an address of its own, what they hear of each other would count twice."""
        others = peers.of(OTHER)
        for peer in others:
            peer.loads["quote"] = PeerLoad(5, 40, clock.now, siblings=7)
        for peer in others[known:]:
            group = peers.group(OTHER)
            assert group is not None
            group.leave(peer)
        assert board.load(topology.services["quote"], OTHER) == RegionLoad(load, 40)

    def test_an_old_load_is_not_known_any_more(
        self, topology: Topology, clock: ManualClock, peers: Peers, board: Board
    ) -> None:
        quote = topology.services["quote"]
        one, other = peers.of(OTHER)
        one.told("quote", b"5/40", clock.now)
        clock.advance(LOAD_FRESH_S)
        other.told("quote", b"7/40", clock.now)
        assert board.load(quote, OTHER) == RegionLoad(12, 40)
        clock.advance(0.1)
        assert board.load(quote, OTHER) == RegionLoad(7, 40)
        clock.advance(LOAD_FRESH_S)
        assert board.load(quote, OTHER) == RegionLoad(0, None)

    def test_a_gateway_that_is_down_has_no_load(
        self, topology: Topology, clock: ManualClock, peers: Peers, board: Board
    ) -> None:
        for peer in peers.of(OTHER):
            peer.told("quote", b"5/40", clock.now)
        peers.refused(peers.of(OTHER)[0])
        assert board.load(topology.services["quote"], OTHER) == RegionLoad(5, 40)

    @pytest.mark.parametrize("nonsense", [b"", b"5", b"5/", b"-1/3", b"a/b", b"1/2/3", b"1" * 20 + b"/1"])
    def test_nonsense_is_passed_over(self, peers: Peers, clock: ManualClock, nonsense: bytes) -> None:
        peer = peers.of(OTHER)[0]
        peer.told("quote", b"5/40", clock.now)
        peer.told("quote", nonsense, clock.now)
        assert (peer.loads["quote"].in_flight, peer.loads["quote"].capacity) == (5, 40)

    def test_views_carry_it(self, topology: Topology, clock: ManualClock, peers: Peers, board: Board) -> None:
        peers.of(OTHER)[0].told("quote", b"30/40", clock.now)
        views = board.views(topology.services["quote"], dict.fromkeys(topology.regions, 0.0))
        seen: RegionView = next(one for one in views if one.region == OTHER)
        assert (seen.in_flight, seen.capacity, seen.utilization) == (30, 40, 0.75)


OLDEST = {
    "region": OTHER,
    "gateway": f"{OTHER}/gateway-1",
    "draining": False,
    "topology": {"revision": 1, "digest": "d"},
    "services": {"quote": {"replicas": 2, "in_flight": 3, "capacity": 8}},
    "schema": "atoll.peer/1",
}


class TestReport:
    def test_one_of_an_older_gateway_is_read(self) -> None:
        report: PeerReport = PEER_REPORT.validate_json(json.dumps(OLDEST))
        assert report.services["quote"].ejected == 0

    def test_one_of_a_newer_gateway_is_read_too(self) -> None:
        newer = json.loads(json.dumps(OLDEST)) | {"weather": "fine"}
        newer["services"]["quote"]["temperature"] = 21
        assert PEER_REPORT.validate_json(json.dumps(newer)).services["quote"].capacity == 8


class TestPick:
    def pick(self, peers: Peers, avoid: frozenset[str] = frozenset()) -> Peer:
        picked = peers.pick(OTHER, avoid)
        assert picked is not None
        return picked

    def test_the_less_busy_one(self, peers: Peers) -> None:
        group = peers.group(OTHER)
        assert group is not None
        busy = peers.of(OTHER)[0]
        group.begin(busy)
        assert all(self.pick(peers) is not busy for _ in range(20))

    def test_one_that_fails_more_than_the_other_is_left_out(self, peers: Peers) -> None:
        group = peers.group(OTHER)
        assert group is not None
        bad, good = peers.of(OTHER)
        for _ in range(10):
            group.begin(bad)
            group.failed(bad, answered=True)
            group.end(bad)
            began = group.begin(good)
            group.succeeded(good, began)
            group.end(good)
        assert all(self.pick(peers) is good for _ in range(20))

    def test_an_unhealthy_one_only_if_nothing_else_is_left(self, peers: Peers) -> None:
        one, other = peers.of(OTHER)
        peers.refused(one)
        assert all(self.pick(peers) is other for _ in range(20))
        assert self.pick(peers, frozenset({other.gateway.name})) is one
        assert peers.pick(OTHER, frozenset({one.gateway.name, other.gateway.name})) is None

    def test_siblings_come_and_go(self, peers: Peers) -> None:
        (second,) = peers.siblings
        peers.use_siblings([gateway(OWN, 2), gateway(OWN, 3)])
        assert [peer.gateway.name for peer in peers.siblings] == [f"{OWN}/gateway-{n}" for n in (2, 3)]
        assert second in peers.siblings, "one that stays keeps what is known of it"
        peers.use_siblings([gateway(OWN, 3)])
        assert [peer.gateway.name for peer in peers.siblings] == [f"{OWN}/gateway-3"]

    def test_siblings_are_no_way_anywhere(self, peers: Peers) -> None:
        assert peers.pick(OWN) is None
        assert OWN not in peers.regions
        assert peers.of(OWN) == []
        assert f"{OWN}/gateway-2" not in peers.statistics()
