"""Asks the agents of several regions about their state, and puts their answers side by side."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

from atoll.agent import inspection
from atoll.agent.inspection import (
    CompareQuestion,
    Comparison,
    ConflictsQuestion,
    GetQuestion,
    KeysQuestion,
    RepairQuestion,
)
from atoll.cell.client import last
from atoll.cell.progress import Progress, Report
from atoll.cli.exits import CommandError, Exit
from atoll.cli.state_documents import (
    ConflictsDocument,
    GetDocument,
    KeyPlaces,
    KeysDocument,
    RepairDocument,
    VerifyDocument,
)
from atoll.rpc import Client, RpcError

T = TypeVar("T")

TIMEOUT_S = 10.0
"""For an answer, besides the time that the question itself allows."""

_USAGE = frozenset({"bad-request", "no-such-namespace"})


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """By region. Regions that may not hold the namespace are in neither."""

    found: Mapping[str, T]
    silent: Mapping[str, str]
    """Why a region gave no answer."""


@dataclass(frozen=True, slots=True)
class StateRegions:
    """Regions and their agents' sockets. Every method raises `CommandError`: for what can't be asked, and if no region
    answers.
    """

    sockets: Mapping[str, Path]

    async def get(self, question: GetQuestion) -> GetDocument:
        answers = await self._ask("state.get", question, inspection.CELLS)
        return GetDocument(
            namespace=question.namespace,
            key=question.key,
            regions=answers.found,
            differing=inspection.differing(tuple(answers.found.values())),
            silent=answers.silent,
        )

    async def keys(self, question: KeysQuestion) -> KeysDocument:
        answers = await self._ask("state.keys", question, inspection.KEYS)
        places = [KeyPlaces(at, regions) for at, regions in inspection.together(answers.found).items()]
        return KeysDocument(
            namespace=question.namespace,
            keys=tuple(places[: question.limit]),
            more=len(places) > question.limit or any(answer.more for answer in answers.found.values()),
            regions=tuple(answers.found),
            silent=answers.silent,
        )

    async def conflicts(self, question: ConflictsQuestion) -> ConflictsDocument:
        answers = await self._ask("state.conflicts", question, inspection.CONFLICTS)
        return ConflictsDocument(answers.found, answers.silent)

    async def verify(self, namespace: str | None, timeout_s: float) -> VerifyDocument:
        """Each two regions once, one region's comparisons after the other's."""
        answers = await self._compared(namespace, timeout_s)
        compared = _compared(answers)
        return VerifyDocument(_verdict(answers, compared), compared, answers.silent)

    async def repair(
        self, namespace: str, only: str | None, timeout_s: float, report: Report
    ) -> RepairDocument:
        """Each region takes over what it lacks, or `only` one does; then they are compared. One after the other: two
        transfers at once would take what the other one is about to change.
        """
        if only is not None and only not in self.sockets:
            raise CommandError(
                f"no region {only!r} runs here; there are: {', '.join(self.sockets)}", Exit.USAGE
            )
        asked = tuple(self.sockets) if only is None else (only,)
        question = RepairQuestion(namespace=namespace, timeout_s=timeout_s)
        answers = await self._ask(
            "state.repair", question, inspection.REPAIRED, asked, timeout_s, report, at_once=False
        )
        after = await self._compared(namespace, timeout_s)
        compared = tuple(
            comparison
            for comparison in _compared(after)
            if only is None or only in {comparison.region, comparison.peer}
        )
        return RepairDocument(
            namespace=namespace,
            transfers={region: answer.transfers for region, answer in answers.found.items()},
            equal=_verdict(after, compared),
            compared=compared,
            silent={**answers.silent, **after.silent},
        )

    async def _compared(self, namespace: str | None, timeout_s: float) -> Answers[inspection.ComparedAnswer]:
        """Asks each region about those that follow it."""
        names = tuple(self.sockets)
        questions = {
            region: CompareQuestion(namespace=namespace, peers=names[number + 1 :], timeout_s=timeout_s)
            for number, region in enumerate(names)
        }
        return await self._ask_each("state.compare", questions, inspection.COMPARED, timeout_s)

    async def _ask(
        self,
        method: str,
        question: BaseModel,
        answer: TypeAdapter[T],
        regions: Sequence[str] | None = None,
        patience_s: float = 0.0,
        report: Report | None = None,
        *,
        at_once: bool = True,
    ) -> Answers[T]:
        questions = dict.fromkeys(self.sockets if regions is None else regions, question)
        return await self._ask_each(method, questions, answer, patience_s, report, at_once=at_once)

    async def _ask_each(
        self,
        method: str,
        questions: Mapping[str, BaseModel],
        answer: TypeAdapter[T],
        patience_s: float,
        report: Report | None = None,
        *,
        at_once: bool = True,
    ) -> Answers[T]:
        turns = asyncio.Semaphore(len(questions) if at_once else 1)

        async def one(region: str, question: BaseModel) -> T | RpcError:
            async with turns:
                try:
                    async with asyncio.timeout(TIMEOUT_S + patience_s):
                        client = Client(self.sockets[region])
                        params = question.model_dump(mode="json")
                        return answer.validate_python(
                            await last(client.stream(method, params), report or _ignore)
                        )
                except RpcError as error:
                    return error
                except TimeoutError:
                    return RpcError("timeout", f"no answer in {TIMEOUT_S + patience_s:g} s")

        answers = await asyncio.gather(*(one(region, question) for region, question in questions.items()))
        found: dict[str, T] = {}
        silent: dict[str, str] = {}
        elsewhere: list[RpcError] = []
        for region, got in zip(questions, answers, strict=True):
            if not isinstance(got, RpcError):
                found[region] = got
            elif got.kind in _USAGE:
                raise CommandError(got.detail, Exit.USAGE)
            elif got.kind == "not-held":
                elsewhere.append(got)
            else:
                silent[region] = got.detail
        if not found and elsewhere and not silent:
            raise CommandError(elsewhere[0].detail, Exit.USAGE)
        if not found:
            told = "; ".join(f"{region}: {reason}" for region, reason in silent.items())
            raise CommandError(f"no region answers ({told}); see `atoll status` for what is down")
        return Answers(found, silent)


def _compared(answers: Answers[inspection.ComparedAnswer]) -> tuple[Comparison, ...]:
    return tuple(comparison for answer in answers.found.values() for comparison in answer.compared)


def _verdict(answers: Answers[inspection.ComparedAnswer], compared: Sequence[Comparison]) -> bool | None:
    """As `inspection.verdict`; a region that is silent could not be compared."""
    equal = inspection.verdict(compared)
    return None if equal and answers.silent else equal


def _ignore(event: Progress) -> None:
    """Takes progress that nobody waits for."""
