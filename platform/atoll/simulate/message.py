"""What travels through a simulated gateway: a request, an answer, and the report that peers exchange."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from atoll.clock import Clock
from atoll.resilience.attempts import Failure
from atoll.resilience.deadline import Deadline
from atoll.resilience.replay import IDEMPOTENT_METHODS
from atoll.simulate.record import Kind, Outcome, RequestRecord
from atoll.topology import Service

_METHODS: Mapping[Kind, str] = MappingProxyType({Kind.GET: "GET", Kind.POST: "POST", Kind.KEYED: "POST"})


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """As `atoll_gateway.peer_report.ServiceLoad`."""

    replicas: int
    ejected: int
    in_flight: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a gateway tells its peers of its region."""

    draining: bool
    services: Mapping[str, ServiceLoad]

    @property
    def replicas(self) -> dict[str, int]:
        """By service."""
        return {name: load.replicas for name, load in self.services.items()}


class _Body:
    """Every simulated body can be sent again."""

    replayable = True


_BODY = _Body()


class SimulatedRequest:
    """What the cores have to know of a request, and where to write what comes of it."""

    __slots__ = (
        "attempts_made",
        "deadline",
        "keyed",
        "method",
        "record",
        "regions",
        "replay_safe",
        "service",
        "tried",
    )

    def __init__(self, record: RequestRecord, service: Service, clock: Clock) -> None:
        self.record = record
        self.service = service
        self.deadline = Deadline(clock, record.timeout_s)
        self.method = _METHODS[record.kind]
        self.keyed = record.kind is Kind.KEYED and record.safe
        self.replay_safe = self.keyed or self.method in IDEMPOTENT_METHODS
        self.attempts_made = 0
        self.regions: tuple[str, ...] = ()
        """In the order in which they are to be tried."""
        self.tried: set[str] = set()

    @property
    def body(self) -> _Body:
        return _BODY


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, with what its gateway tells of its load: ``Atoll-Load``, requests in flight and capacity."""

    status: int
    region: str
    load: tuple[int, int] | None = None


class Exchange:
    """What depends on the protocol: here there is nothing to let go of, and no answer asks for patience."""

    def final(self, response: Answer) -> bool:
        return False

    def retry_after_s(self, response: Answer) -> float | None:
        return None

    def discard(self, response: Answer) -> None:
        pass

    def outcome_unknown(self, region: str, failure: Failure) -> Failure:
        return Failure(Outcome.OUTCOME_UNKNOWN, sent=True, elsewhere=False)
