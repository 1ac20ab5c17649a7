"""Drives a procedure: talks to the peer, to the own store and to the streams for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.state.replication.holds import Holds
from atoll.state.replication.known import Known
from atoll.state.replication.messages import Message, Question, decode, encode
from atoll.state.replication.peers import PeerLost, Peers
from atoll.state.replication.steps import (
    Ask,
    AskAll,
    CatchUp,
    Hold,
    Own,
    PeerCatchesUp,
    Step,
    Steps,
    T,
)
from atoll.state.store import Store
from atoll.state.vector import Vector


@dataclass(frozen=True, slots=True)
class Performer:
    """What a procedure's steps mean, with one peer."""

    peer: str
    store: Store
    peers: Peers
    known: Known
    holds: Holds
    heard: Callable[[], Vector]
    """The peer's vector as it last said it in its log."""
    clock: Clock
    question_s: float

    async def run(self, steps: Steps[T]) -> T:
        """The procedure's result. Raises `PeerLost`, `MessageError`, and what the store raises."""
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._do(step))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    async def _do(self, step: Step) -> object:
        match step:
            case Ask(question):
                return await self._ask(question)
            case AskAll(questions):
                return await self._ask_all(questions)
            case Own(call):
                return await call(self.store)
            case CatchUp(vector, patience_s):
                self.known.use(await self.store.vector())
                return await self._until(lambda: vector <= self.known.vector, patience_s)
            case PeerCatchesUp(vector, patience_s):
                return await self._until(lambda: vector <= self.heard(), patience_s)
            case Hold(vector):
                self.holds.begin(vector)
                while not self.holds.quiet(self.known.vector):
                    await self.known.changed()
                return None

    async def _ask(self, question: Question) -> Message:
        try:
            async with asyncio.timeout(self.question_s):
                return decode(await self.peers.ask(self.peer, encode(question)))
        except TimeoutError as error:
            raise PeerLost(f"{self.peer} gave no answer within {self.question_s:g} s") from error

    async def _ask_all(self, questions: tuple[Question, ...]) -> list[Message]:
        asked = [asyncio.ensure_future(self._ask(question)) for question in questions]
        try:
            return await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()

    async def _until(self, holds: Callable[[], bool], patience_s: float) -> bool:
        end = self.clock.monotonic() + patience_s
        while not holds():
            left = end - self.clock.monotonic()
            if left <= 0 or not await self.known.changed(left):
                return holds()
        return True
