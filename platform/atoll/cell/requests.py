"""What is asked of the supervisor and of wardens over their sockets: the methods' parameters and answers.

| asked of | method | parameters | answer |
|---|---|---|---|
| supervisor | ``status`` | `StatusRequest` | `RunStatus` |
| supervisor | ``ready`` | none | progress, then `Done` when every region is ready |
| supervisor | ``fault`` | `FaultRequest` | `Done` |
| supervisor | ``regions`` | `RegionsRequest` | progress, then `Done` |
| supervisor | ``drain``, ``undrain`` | `DrainRequest` | progress, then `Done` |
| both | ``deploy`` | `DeployRequest` | progress, then `Done` |
| both | ``ping`` | none | `Done` |
| both | ``stop`` | none | progress, then `Done`, when all has ended |
| warden | ``status`` | `StatusRequest` | `RegionStatus` |
| warden | ``ready`` | none | progress, then `Done` when the region is ready |
| warden | ``rewire`` | none | `Done`: its configuration is taken up |
| warden | ``leave`` | none | progress, then `Done`, when nothing of it takes requests any more |
| warden | ``fault`` | `FaultRequest` with the process alone as target | `Done` |

Errors: ``no-such-region``, ``no-such-process``, ``no-such-link``, ``bad-request``, ``deploy-failed``, ``not-drained``,
``not-possible``, ``region-unavailable``, ``links-unavailable``.
"""

from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atoll.rpc import Document, RpcError


class Fault(StrEnum):
    """What can be done to a region, a process or a link."""

    KILL = "kill"
    FREEZE = "freeze"
    CUT = "cut"
    SLOW = "slow"
    THROTTLE = "throttle"
    FILL = "fill"
    """No file of a process takes a write: its disk is full."""
    STARVE = "starve"
    """A store may use no more memory."""
    SKEW = "skew"
    """The state store's wall clock, which stamps the region's writes, is off."""
    LIMP = "limp"
    """A replica gets a share of the time alone."""
    WITHOUT = "without"
    """Gateways do without a mechanism (`atoll.cell.mechanisms`)."""
    HEAL = "heal"


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FaultRequest(_Parameters):
    """A fault. ``target`` is a region, ``<region>/<process>``, ``<region>/replica/<service>`` or ``entry``; for links
    it and ``other`` are the ends (``other`` absent: all links of the target); for ``without`` it is a mechanism. To
    heal without a target is to heal all.
    """

    kind: Fault
    target: str | None = None
    other: str | None = None
    one_way: bool = False
    """Links: from ``target`` to ``other`` only."""
    latency_ms: Annotated[float, Field(gt=0, le=60_000, allow_inf_nan=False)] | None = None
    """One way; for ``slow``."""
    rate_bytes_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Each way; for ``throttle``."""
    skew_ms: Annotated[int, Field(ge=-86_400_000, le=86_400_000)] | None = None
    """How far ahead a clock is, or behind if below zero; for ``skew``."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Of the time that a replica gets; for ``limp``."""


class StatusRequest(_Parameters):
    memory: bool = True
    """Whether to say what each process takes: the kernel goes through all its pages for that."""


class DrainRequest(_Parameters):
    region: str
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """How long the region's gateways have to finish what they hold."""


class DeployRequest(_Parameters):
    rollback: bool = False
    """Back to what ran before, instead of to what the topology says."""


class RegionsRequest(_Parameters):
    regions: Annotated[int, Field(ge=1)] | None = None
    """Only the first so many regions of the topology; None means all."""


class Done(_Parameters):
    """It is done; ``detail`` says what there is to say of it."""

    detail: str = ""
    changed: bool = False
    """After ``deploy``, of a warden: whether the region runs something else now."""


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], params: Document) -> Model:
    """The parameters of a call. Raises `RpcError` (``bad-request``) that names the key and the value."""
    try:
        return model.model_validate(params)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise RpcError("bad-request", f"{where}: {first['msg']}, got {first['input']!r}") from error
