"""The newest commands of a store, so that they can be taken back, as an append-only file does it that lost its end."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeAlias, TypeVar

S = TypeVar("S")
Call: TypeAlias = tuple[int, Callable[[], object]]
"""When (Unix milliseconds), and what is to be done again."""


class History(Generic[S]):
    """Two copies of the state, and the commands since the older one: enough to take back `limit` commands.

    A copy is made every `limit` commands. With `limit` zero nothing is kept.
    """

    __slots__ = ("_bases", "_copy", "_limit")

    def __init__(self, limit: int, copy: Callable[[S], S]) -> None:
        self._limit = limit
        self._copy = copy
        self._bases: list[tuple[S, list[Call]]] = []

    def before(self, state: S) -> None:
        """A command is about to change `state`."""
        if self._limit and (not self._bases or len(self._bases[-1][1]) >= self._limit):
            self._bases = [*self._bases[-1:], (self._copy(state), [])]

    def after(self, now_ms: int, call: Callable[[], object]) -> None:
        """The command is done; `call` does it again."""
        if self._limit:
            self._bases[-1][1].append((now_ms, call))

    def clear(self) -> None:
        self._bases = []

    def rewind(self, commands: int, replay: Callable[[S, Iterable[Call]], None]) -> None:
        """Gives `replay` a state and the calls that lead to where it was `commands` ago.

        Raises `ValueError` if that is further than is kept.
        """
        if commands == 0:
            return
        calls = [call for _, base in self._bases for call in base]
        if commands > min(len(calls), self._limit):
            raise ValueError(
                f"only {min(len(calls), self._limit)} commands can be taken back, not {commands}"
            )
        kept = calls[: len(calls) - commands]
        state = self._copy(self._bases[0][0])
        replay(self._copy(state), kept)
        self._bases = [(state, kept)]
