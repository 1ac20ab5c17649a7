"""Orders from one gateway to another about keys: a line of JSON, then bytes that are not looked into.

    POST /-/peer/keys/claim    {"claim": {...}}                         -> {"standing": "..."} and the answer
    POST /-/peer/keys/settle   {"claim": {...}, "settlement": "..."}    -> {"settled": true}
                               and the answer

200: done. 4xx and 503: not done and never will be. Anything else: nobody knows. Members that a reader does not know
are ignored.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter

from atoll.resilience.idempotency import Claim, Settlement, Standing

PATH = b"/-/peer/keys/"
CLAIM = b"claim"
SETTLE = b"settle"


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked; `settlement` if a claim is to be settled."""

    claim: Claim
    settlement: Settlement | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it: `standing` of a claim, `settled` of a settlement."""

    standing: Standing | None = None
    settled: bool = False


_ORDER = TypeAdapter(Order)
_REPORT = TypeAdapter(Report)


def write_order(order: Order, answer: bytes) -> bytes:
    return _ORDER.dump_json(order) + b"\n" + answer


def read_order(content: bytes) -> tuple[Order, bytes]:
    """Raises `ValueError`."""
    line, _, answer = content.partition(b"\n")
    return _ORDER.validate_json(line), answer


def write_report(report: Report, answer: bytes = b"") -> bytes:
    return _REPORT.dump_json(report) + b"\n" + answer


def read_report(content: bytes) -> tuple[Report, bytes]:
    """Raises `ValueError`."""
    line, _, answer = content.partition(b"\n")
    return _REPORT.validate_json(line), answer
