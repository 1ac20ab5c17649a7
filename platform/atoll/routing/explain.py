"""Why a request goes where it goes: both decisions in one document, ``atoll.explain/1``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from atoll.geo.place import Place, PlaceSource
from atoll.routing.rank import Ranking
from atoll.routing.residency import allowed_zones, restrictions
from atoll.topology import Service, Topology


@dataclass(frozen=True, slots=True)
class TopologyStamp:
    """By which topology it was decided."""

    name: str
    revision: int
    digest: str


@dataclass(frozen=True, slots=True)
class PlaceDocument:
    """Where the client is; all but `source` are null if nobody knows."""

    country: str | None
    latitude: float | None
    longitude: float | None
    source: PlaceSource
    stands_in: str | None
    """The default region, where a client of unknown place counts as standing; null if its place is known."""


@dataclass(frozen=True, slots=True)
class RestrictionDocument:
    """One source of residency, the zones that it leaves open in alphabetical order."""

    source: str
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResidencyDocument:
    """Where the request may be executed, and who says so. No zone means: nowhere."""

    zones: tuple[str, ...]
    restrictions: tuple[RestrictionDocument, ...]


@dataclass(frozen=True, slots=True)
class CandidateDocument:
    """One region that was considered. `score` in milliseconds: smaller is better, compares within a ring."""

    region: str
    zone: str
    eligible: bool
    ring: int | None
    rtt_ms: float
    score: float
    reason: str
    utilization: float | None = None
    """Requests in flight / capacity there; null if it is not known, or plays no part in this decision."""
    share: float | None = None
    """The share of such requests that try this region first; null if this gateway doesn't decide that."""


@dataclass(frozen=True, slots=True)
class DecisionDocument:
    """One decision with every region that was considered, the eligible ones first and best first."""

    chosen: str | None
    """The region at the front; null if none is eligible."""
    panic: bool
    candidates: tuple[CandidateDocument, ...]


@dataclass(frozen=True, slots=True)
class ExplainDocument:
    """Steering and routing of one request, as one gateway decides them now."""

    client: str
    service: str
    gateway: str
    """The gateway that says so, and whose knowledge of health it is."""
    routed_from: str
    """The region whose round-trip times routing used."""
    place: PlaceDocument
    residency: ResidencyDocument
    steering: DecisionDocument
    routing: DecisionDocument
    topology: TopologyStamp
    schema: Literal["atoll.explain/1"] = "atoll.explain/1"


EXPLAIN = TypeAdapter(ExplainDocument)
"""Reads, writes and describes (JSON Schema) the document."""


def explain(
    topology: Topology,
    service: Service,
    *,
    client: str,
    place: Place,
    gateway: str,
    routed_from: str,
    steering: Ranking,
    routing: Ranking,
) -> ExplainDocument:
    """Puts two decisions that were made under `topology` into words. Decides nothing itself."""
    at = place.coordinates
    return ExplainDocument(
        client=client,
        service=service.name,
        gateway=gateway,
        routed_from=routed_from,
        place=PlaceDocument(
            country=place.country,
            latitude=None if at is None else at.latitude,
            longitude=None if at is None else at.longitude,
            source=place.source,
            stands_in=topology.steering.default_region if at is None else None,
        ),
        residency=ResidencyDocument(
            zones=_sorted(allowed_zones(topology, service, place.country)),
            restrictions=tuple(
                RestrictionDocument(restriction.source, _sorted(restriction.zones))
                for restriction in restrictions(topology, service, place.country)
            ),
        ),
        steering=_decision(topology, steering),
        routing=_decision(topology, routing),
        topology=TopologyStamp(topology.name, topology.revision, topology.digest),
    )


def _decision(topology: Topology, ranking: Ranking) -> DecisionDocument:
    return DecisionDocument(
        chosen=_first(ranking.regions),
        panic=ranking.panic,
        candidates=tuple(
            CandidateDocument(
                region=candidate.region,
                zone=topology.regions[candidate.region].zone,
                eligible=candidate.eligible,
                ring=candidate.ring,
                rtt_ms=candidate.rtt_ms,
                score=candidate.score,
                reason=candidate.reason,
                utilization=candidate.utilization,
                share=candidate.share,
            )
            for candidate in ranking.candidates
        ),
    )


def _first(regions: Sequence[str]) -> str | None:
    return regions[0] if regions else None


def _sorted(zones: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(zones))
