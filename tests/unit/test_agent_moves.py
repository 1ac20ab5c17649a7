"""What is known of a region's state while regions are added or removed, and an agent's links to others."""

from dataclasses import replace

import pytest

from atoll.agent.moves import MovesReport
from atoll.agent.peers import AgentPeers
from atoll.channel import NotSent
from atoll.state.replication import PeerLost
from atoll.topology.wiring import Address

LEAVING = MovesReport(
    region="us-west",
    members=("us-east", "us-west"),
    complete=True,
    vector={"us-west.100": 7, "us-west.200": 3, "us-east.150": 9},
    acceptors={},
)


def test_all_epochs_of_a_region_count_and_no_other_region_s() -> None:
    here = replace(LEAVING, region="us-east", vector={"us-west.100": 7, "us-west.200": 4, "us-east.150": 8})
    assert here.has_all_of(LEAVING)
    for lacking in ({"us-west.100": 6, "us-west.200": 3}, {"us-west.200": 3}, {}):
        assert not replace(here, vector=lacking).has_all_of(LEAVING)


async def test_links_of_an_agent_come_and_go() -> None:
    nowhere, elsewhere = Address("127.0.0.1", 1), Address("127.0.0.1", 2)
    peers = AgentPeers("us-east", {"eu-west": nowhere, "us-west": nowhere}, b"secret")
    await peers.use({"eu-west": nowhere, "us-west": elsewhere, "ap-south": nowhere})
    assert peers.regions == ("eu-west", "us-west", "ap-south")
    with pytest.raises(NotSent, match=r"127\.0\.0\.1:2"):
        await peers.call("us-west", "ping", None, 1.0)
    await peers.use({"eu-west": nowhere})
    with pytest.raises(NotSent, match="no link to us-west"):
        await peers.call("us-west", "ping", None, 1.0)
    with pytest.raises(PeerLost, match="no link to us-west"):
        await peers.open("us-west")
    await peers.close()
