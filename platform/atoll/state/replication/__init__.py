"""Replication: every region's log streamed to every other region, and transfers for what a log can't bring.

    messages      what agents say to each other, and how it looks on the wire
    sender        which part of the own log goes to a peer next            serve, pull: the two ends of a link
    receiver      what of a peer's log goes into the own store next
    transfer      taking over what a peer knows (bootstrap, gap, lost tail, anti-entropy)
    verify        whether two replicas hold the same
    watch         when to transfer, and from whom                          holds: what must stand still meanwhile
    coverage      what transfers together allow this region to claim
    bootstrap     when a store that began empty is complete
    stability     what every member has                                    trim: how far the log may be cut
    lag           how far behind this region is
    clock_guard   whether this region's clock may stamp writes           other_clock: how far one is off
    replicator    one region's replication: all of it together

Cores do no I/O. `perform`, `serve`, `pull` and `replicator` are asynchronous and have no sockets: the agent gives them
connections, and the simulator does.
"""

from atoll.state.replication.membership import Membership
from atoll.state.replication.messages import MessageError
from atoll.state.replication.peers import Channel, PeerLost, Peers
from atoll.state.replication.replicator import PRODUCTION, ReplicationParts, ReplicationStatistics, Replicator
from atoll.state.replication.settings import DEFAULTS, ReplicationSettings

__all__ = [
    "DEFAULTS",
    "PRODUCTION",
    "Channel",
    "Membership",
    "MessageError",
    "PeerLost",
    "Peers",
    "ReplicationParts",
    "ReplicationSettings",
    "ReplicationStatistics",
    "Replicator",
]
