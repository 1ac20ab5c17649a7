"""One subject after the other, round after round."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from loadtests.bench.workbench import Running
from loadtests.bench.wrk import PATH, Load, Wrk

T = TypeVar("T")


def interleaved(subjects: Sequence[T], turn: int) -> Sequence[T]:
    """The order of one round: it begins with another subject each time, so that none always follows the same one."""
    at = turn % len(subjects) if subjects else 0
    return [*subjects[at:], *subjects[:at]]


def run_rounds(
    wrk: Wrk,
    subjects: Sequence[Running],
    connections: Sequence[int],
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
    path: str = PATH,
) -> Iterator[Load]:
    """Runs every subject at every number of connections, `rounds` times."""
    for subject in subjects:  # connections upstream are opened, caches are filled
        wrk.run(subject, 8, 1.0, path=path)
    for turn in range(rounds):
        for count in connections:
            for subject in interleaved(subjects, turn):
                progress(f"round {turn + 1} of {rounds}, {count} connections, {subject.name}")
                yield wrk.run(subject, count, seconds, turn=turn, path=path)
