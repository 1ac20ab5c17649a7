"""What must be known of a region's state while regions are added or removed."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from atoll.agent.state import StateAgent
from atoll.rpc import RpcError
from atoll.state.errors import StateError
from atoll.state.vector import region_of


@dataclass(frozen=True, slots=True)
class MovesReport:
    """A region's state, as its agent knows it."""

    region: str
    members: tuple[str, ...]
    """The regions of the topology that is in force here."""
    complete: bool
    """The store has all that it should have."""
    vector: Mapping[str, int]
    """Actor -> the last of its operations that is here."""
    acceptors: Mapping[str, tuple[str, ...] | None]
    """Strong namespace -> its acceptor regions; None while they are not known here."""

    def has_all_of(self, other: "MovesReport") -> bool:
        """Whether all that the other region has written is here too."""
        return all(
            self.vector.get(actor, 0) >= seq
            for actor, seq in other.vector.items()
            if region_of(actor) == other.region
        )


MOVES_REPORT: TypeAdapter[MovesReport] = TypeAdapter(MovesReport)


async def moves_of(region: str, agent: StateAgent) -> MovesReport:
    """A snapshot. Raises `RpcError` while the store does not answer."""
    try:
        store, vector = await agent.store.statistics(), await agent.store.vector()
    except (StateError, OSError) as error:
        raise RpcError("store", f"{region}: {error}") from error
    return MovesReport(
        region=region,
        members=tuple(agent.topology.regions),
        complete=store.complete,
        vector=dict(vector),
        acceptors=agent.strong.acceptors(),
    )
