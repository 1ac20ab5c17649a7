"""Faults that need more than a target: what is refused, what a warden is told, and what is said to be in force."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from atoll.cell.faults import Faults
from atoll.cell.requests import Fault, FaultRequest
from atoll.clock import ManualClock
from atoll.rpc import Document, RpcError


class Run:
    """Notes what wardens are told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Document]] = []
        self.paths = SimpleNamespace(links_socket=Path("/nowhere"))
        self.wardens = {"eu-west": None}

    async def ask(self, region: str, method: str, params: Document, report: object) -> Document:
        assert method == "fault"
        self.told.append((region, params))
        return {}


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.fixture
def faults(run: Run) -> Faults:
    return Faults(cast("Any", run), ManualClock())


@pytest.mark.parametrize(
    ("request_", "target", "detail"),
    [
        (
            FaultRequest(kind=Fault.SKEW, target="eu-west/state", skew_ms=-1500),
            "state",
            "its clock is off by -1500 ms",
        ),
        (
            FaultRequest(kind=Fault.LIMP, target="eu-west/replica/quote", share=0.1),
            "replica/quote",
            "10% of the time",
        ),
    ],
)
async def test_the_warden_is_told_all_of_it(
    request_: FaultRequest, target: str, detail: str, faults: Faults, run: Run
) -> None:
    await faults.apply(request_)
    told = request_.model_copy(update={"target": target}).model_dump(mode="json")
    assert run.told == [("eu-west", told)]
    (status,) = faults.statuses()
    assert (status.kind, status.target, status.detail) == (request_.kind.value, request_.target, detail)
    await faults.apply(FaultRequest(kind=Fault.HEAL, target=request_.target))
    assert faults.statuses() == ()
    assert run.told[-1][1]["target"] == target


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (FaultRequest(kind=Fault.SKEW, target="eu-west", skew_ms=1), "one process: eu-west/state"),
        (FaultRequest(kind=Fault.STARVE, target="eu-west"), "one process: eu-west/state, eu-west/cache"),
        (FaultRequest(kind=Fault.LIMP, target="eu-west", share=0.5), "one process: eu-west/replica/SERVICE"),
        (FaultRequest(kind=Fault.SKEW, target="eu-west/state"), "skew needs skew_ms"),
        (FaultRequest(kind=Fault.LIMP, target="eu-west/replica/quote"), "limp needs share"),
    ],
)
async def test_what_lacks_something_is_refused_and_changes_nothing(
    request_: FaultRequest, message: str, faults: Faults, run: Run
) -> None:
    with pytest.raises(RpcError, match=message):
        await faults.apply(request_)
    assert run.told == []
    assert faults.statuses() == ()
