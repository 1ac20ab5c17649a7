"""Ports: where everything is, that nothing meets, and what is said of a port that is taken."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cell.port_check import check_free, first_taken, holder_of
from atoll.cell.ports import END, PortPlan, PortsError, plan_ports
from atoll.cell.ray_head import PortRange
from atoll.topology import Topology, load

TOPOLOGIES = Path(__file__).parents[2] / "infra" / "topologies"
LOCAL = load(TOPOLOGIES / "local.toml")
WORLD = load(TOPOLOGIES / "world.toml")


@pytest.fixture
def local() -> Topology:
    return LOCAL


def test_without_a_base_clients_find_the_well_known_ports(local: Topology) -> None:
    plan = plan_ports(local, None)
    assert plan.entry_public.port == 8080
    assert [plan.regions[name].gateways[0].public.port for name in local.regions] == [8081, 8082, 8083]
    others = [listener.address.port for listener in plan.listeners(local)]
    assert min(port for port in others if port > 8083) >= 20000


def test_with_a_base_everything_starts_there(local: Topology) -> None:
    plan = plan_ports(local, 24000)
    assert plan.entry_public.port == 24000
    assert plan.regions["us-east"].gateways[0].public.port == 24001
    assert all(24000 <= port < 26000 for port in _all_ports(plan, local))


@pytest.mark.parametrize("name", ["local", "residency", "world"])
def test_nothing_meets(name: str) -> None:
    topology = load(TOPOLOGIES / f"{name}.toml")
    ports = _all_ports(plan_ports(topology, None), topology)
    assert len(ports) == len(set(ports))
    assert max(ports) < END


@given(base=st.integers(1024, END - 4 * 500 - 1))
def test_two_runs_whose_bases_are_far_enough_apart_never_meet(base: int) -> None:
    ports = _all_ports(plan_ports(LOCAL, base), LOCAL)
    assert all(base <= port < base + 2000 for port in ports)


def test_every_source_has_a_link_to_every_gateway_elsewhere(local: Topology) -> None:
    plan = plan_ports(local, None)
    gateways = [link for link in plan.links if link.gateway is not None]
    assert {(link.source, link.destination) for link in gateways} == {
        (source, destination)
        for source in ("entry", *local.regions)
        for destination in local.regions
        if source != destination
    }


@pytest.mark.parametrize("name", ["local", "residency", "world"])
def test_every_region_has_a_link_to_every_other_agent(name: str) -> None:
    topology = load(TOPOLOGIES / f"{name}.toml")
    plan = plan_ports(topology, None)
    for region in topology.regions:
        assert plan.agents_of(region).keys() == topology.regions.keys() - {region}
    assert plan.agents_of("entry") == {}
    assert {link.target for link in plan.links} >= {"agent", "gateway-1"}
    purposes = [listener.purpose for listener in plan.listeners(topology)]
    assert all(f"{region}'s agent" in purposes for region in topology.regions)


def test_links_that_don_t_fit_one_block_are_refused_with_a_way_out() -> None:
    world = load(TOPOLOGIES / "world.toml")
    crowded = replace(
        world, regions={name: replace(region, gateways=8) for name, region in world.regions.items()}
    )
    with pytest.raises(PortsError, match=r"80 gateways in 10 regions don't fit .*--regions N"):
        plan_ports(crowded, None)


@given(
    base=st.none() | st.integers(1024, END - 12 * 500),
    sets=st.lists(st.sets(st.sampled_from(list(WORLD.regions)), min_size=1), min_size=1, max_size=8),
)
def test_regions_come_and_go_and_none_that_stays_moves(base: int | None, sets: list[set[str]]) -> None:
    plan: PortPlan | None = None
    for names in sets:
        topology = _only(WORLD, names)
        following = plan_ports(topology, base, plan)
        ports = _all_ports(following, topology)
        assert len(ports) == len(set(ports))
        assert max(ports) < END
        fresh = plan_ports(topology, base)
        assert {link.target for link in following.links} == {link.target for link in fresh.links}
        assert len(following.links) == len(fresh.links)
        if plan is not None:
            stay = names & plan.regions.keys()
            assert all(following.regions[name] == plan.regions[name] for name in stay)
            ends = {*stay, "entry"}
            assert [link for link in plan.links if {link.source, link.destination} <= ends] == [
                link for link in following.links if {link.source, link.destination} <= ends
            ]
            assert following.entry_public == plan.entry_public
        plan = following


def test_what_a_removed_region_had_is_given_out_again(local: Topology) -> None:
    plan = plan_ports(local, None)
    without = _only(local, {"us-east", "ap-northeast"})
    smaller = plan_ports(without, None, plan)
    assert smaller.regions.keys() == {"us-east", "ap-northeast"}
    assert smaller.regions["ap-northeast"] == plan.regions["ap-northeast"], "a plan anew would move it"
    assert plan_ports(without, None).regions["ap-northeast"] != plan.regions["ap-northeast"], "control"
    again = plan_ports(local, None, smaller)
    assert again.regions == plan.regions
    assert set(again.links) == set(plan.links)


def test_only_the_ports_of_new_regions_must_be_free(local: Topology) -> None:
    base = _free_base(local)
    first = plan_ports(_only(local, {"us-east"}), base)
    plan = plan_ports(local, base, first)
    with socket.create_server(("127.0.0.1", first.regions["us-east"].state.port)):
        check_free(plan, local, besides=first)
        with pytest.raises(PortsError):
            check_free(plan, local)
    with (
        socket.create_server(("127.0.0.1", plan.regions["eu-west"].state.port)),
        pytest.raises(PortsError, match="eu-west's state store"),
    ):
        check_free(plan, local, besides=first)


@pytest.mark.parametrize("base", [-5, 80, 1023])
def test_a_base_that_needs_privileges_is_refused(local: Topology, base: int) -> None:
    with pytest.raises(PortsError, match=f"ATOLL_PORT_BASE={base}"):
        plan_ports(local, base)


def test_a_base_too_high_says_what_would_fit(local: Topology) -> None:
    with pytest.raises(PortsError, match=r"set ATOLL_PORT_BASE to 30768 at most"):
        plan_ports(local, 32000)
    plan_ports(local, 30768)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_named_with_its_purpose_its_holder_and_a_way_out(local: Topology, host: str) -> None:
    plan = plan_ports(local, _free_base(local))
    wanted = plan.regions["eu-west"].gateways[0].admin
    with socket.create_server((host, wanted.port)):
        with pytest.raises(PortsError) as refusal:
            check_free(plan, local)
        message = str(refusal.value)
    assert f"port {wanted.port}" in message
    assert "admin listener of eu-west/gateway-1" in message
    assert "python" in message
    assert "ATOLL_PORT_BASE=" in message


def test_ray_can_t_use_a_port_that_is_taken_on_loopback_alone(local: Topology) -> None:
    plan = plan_ports(local, _free_base(local))
    with socket.create_server(("127.0.0.1", plan.regions["us-east"].ray.gcs)):
        taken = first_taken(plan, local)
    assert taken is not None
    assert taken.purpose == "us-east's Ray GCS"


def test_connections_of_an_earlier_run_that_linger_don_t_count(local: Topology) -> None:
    plan = plan_ports(local, _free_base(local))
    address = (plan.entry_public.host, plan.entry_public.port)
    with socket.create_server(address) as server, socket.create_connection(address):
        connection, _ = server.accept()
        connection.close()  # this side closes first, so the port lingers in TIME_WAIT
    assert first_taken(plan, local) is None


def test_nobody_holds_a_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "python" in (holder_of(port) or "")
    assert holder_of(port) is None


def _free_base(topology: Topology) -> int:
    for base in range(10000, 30000, 2000):
        if first_taken(plan_ports(topology, base), topology) is None:
            return base
    raise AssertionError("no free ports for this test")


def _only(topology: Topology, names: set[str]) -> Topology:
    """As far as ports go by it."""
    return replace(
        topology, regions={name: region for name, region in topology.regions.items() if name in names}
    )


def _all_ports(plan: PortPlan, topology: Topology) -> list[int]:
    ports = [listener.address.port for listener in plan.listeners(topology)]
    for region in plan.regions.values():
        for block in (region.ray.workers, region.ray.ingress_http, region.ray.ingress_grpc):
            ports += _expand(block)
    return ports


def _expand(block: PortRange) -> list[int]:
    return list(range(block.first, block.last + 1))
