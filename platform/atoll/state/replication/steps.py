"""What a transfer asks for while it goes on: the steps of a generator that does no I/O itself.

A procedure yields a step and is sent what came of it. Whoever drives it (`perform`) talks to the peer and to the store.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from atoll.state.replication.messages import Answer, MessageError, Question
from atoll.state.store import Store
from atoll.state.vector import Vector

AT_ONCE = 8
"""Questions that are on their way at a time."""

T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the peer. Comes back: its `Answer`."""

    question: Question


@dataclass(frozen=True, slots=True)
class AskAll:
    """Ask the peer several questions at once. Comes back: their answers, in order."""

    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Own(Generic[T]):
    """Do something in the own store. Comes back: what that returns."""

    call: Callable[[Store], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Wait, `patience_s` at most, until this region knows `vector`. Comes back: whether it does."""

    vector: Vector
    patience_s: float


@dataclass(frozen=True, slots=True)
class PeerCatchesUp:
    """Wait, `patience_s` at most, until the peer says by log that it knows `vector`. Comes back: whether it did."""

    vector: Vector
    patience_s: float


@dataclass(frozen=True, slots=True)
class Hold:
    """From now on apply nothing from the streams of actors that are behind `vector`, up to there.

    Comes back when nothing of the kind is being applied any more. Held until the procedure ends.
    """

    vector: Vector


Step: TypeAlias = Ask | AskAll | Own[Any] | CatchUp | PeerCatchesUp | Hold
Steps: TypeAlias = Generator[Step, Any, T]
"""A procedure that yields steps and returns a T."""


def ask(question: Question, expected: type[A]) -> Steps[A]:
    """Asks the peer. Raises `MessageError` if it answers something else."""
    answer: Answer = yield Ask(question)
    return _checked(question, answer, expected)


def ask_all(questions: Sequence[Question], expected: type[A]) -> Steps[list[A]]:
    """Asks the peer several questions, `AT_ONCE` at a time. Raises `MessageError` if it answers something else."""
    found: list[A] = []
    for begin in range(0, len(questions), AT_ONCE):
        asked = tuple(questions[begin : begin + AT_ONCE])
        answers: Sequence[Answer] = yield AskAll(asked)
        found += [
            _checked(question, answer, expected) for question, answer in zip(asked, answers, strict=True)
        ]
    return found


def _checked(question: Question, answer: Answer, expected: type[A]) -> A:
    if not isinstance(answer, expected):
        raise MessageError(
            f"a peer answered {type(question).__name__} with {type(answer).__name__}, not {expected.__name__}"
        )
    return answer


def own(call: Callable[[Store], Awaitable[T]]) -> Steps[T]:
    """Does something in the own store."""
    result: T = yield Own(call)
    return result
