"""What a start, a deployment or an end is busy with, for whoever waits for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from pydantic import TypeAdapter


class StepState(StrEnum):
    WAITING = "waiting"
    """Begun, not done."""
    DONE = "done"
    FAILED = "failed"
    """It will be tried again, or the command ends with an error of its own."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of long work. ``seconds`` is how long the step has taken so far."""

    region: str | None
    step: str
    state: StepState
    seconds: float
    detail: str = ""


PROGRESS: TypeAdapter[Progress] = TypeAdapter(Progress)

Report: TypeAlias = Callable[[Progress], None]
"""Takes each event as it happens; must not block."""


def is_progress(document: Mapping[str, object]) -> bool:
    """Whether a document of a streaming call is a `Progress`; results have no step."""
    return "step" in document
