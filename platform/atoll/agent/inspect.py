"""Answers operators' questions about a region's state: reads its store, compares with peers, starts transfers.

A namespace that is confined to other regions is refused: its data is not here.
"""

import asyncio
from collections.abc import Iterator, Mapping
from hashlib import sha256
from types import MappingProxyType

from pydantic import ValidationError

from atoll.agent.inspection import (
    CELLS,
    COMPARED,
    CONFLICTS,
    KEYS,
    MOST_CELLS,
    REPAIRED,
    SHOWN_BYTES,
    CellsAnswer,
    CellView,
    ComparedAnswer,
    CompareQuestion,
    Comparison,
    ConflictsAnswer,
    ConflictsQuestion,
    ConflictView,
    GetQuestion,
    KeyKind,
    KeysAnswer,
    KeysQuestion,
    KeyView,
    RepairAnswer,
    RepairQuestion,
)
from atoll.agent.state import StateAgent, membership_of
from atoll.cell.progress import PROGRESS, Progress, StepState
from atoll.clock import Clock
from atoll.rpc import Document, RpcError
from atoll.rpc import Progress as Send
from atoll.state.envelope import Envelope
from atoll.state.errors import StateError
from atoll.state.kind import Kind
from atoll.state.replication import PeerLost
from atoll.state.strong.backend import Unavailable
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.topology import Level

STRONG_TIMEOUT_S = 5.0

PAUSE_S = 0.25
"""Between two comparisons of regions that are not at rest: a heartbeat."""

KEPT = 1000
"""Conflicts that a store remembers."""

KINDS: Mapping[KeyKind, Kind] = MappingProxyType(
    {
        KeyKind.REGISTER: Kind.REGISTER,
        KeyKind.MAP: Kind.MAP,
        KeyKind.COUNTER: Kind.COUNTER,
        KeyKind.SET: Kind.SET,
    }
)
NAMES: Mapping[Kind, KeyKind] = MappingProxyType({kind: name for name, kind in KINDS.items()})


class Inspector:
    """One region's. `methods` are what its agent's socket offers besides ``report``."""

    methods = ("state.get", "state.keys", "state.conflicts", "state.compare", "state.repair")

    def __init__(self, region: str, agent: StateAgent, clock: Clock) -> None:
        self._region = region
        self._agent = agent
        self._clock = clock

    async def answer(self, method: str, params: Document, send: Send) -> Document:
        """Raises `RpcError`: ``bad-request``, ``no-such-namespace``, ``not-held``, ``unavailable``."""
        try:
            return await self._answer(method, params, send)
        except ValidationError as error:
            raise RpcError("bad-request", str(error)) from error
        except (StateError, OSError) as error:
            raise RpcError("store", str(error)) from error

    async def _answer(self, method: str, params: Document, send: Send) -> Document:
        document: Document
        match method:
            case "state.get":
                document = CELLS.dump_python(await self._get(GetQuestion.model_validate(params)), mode="json")
            case "state.keys":
                document = KEYS.dump_python(
                    await self._keys(KeysQuestion.model_validate(params)), mode="json"
                )
            case "state.conflicts":
                conflicts = await self._conflicts(ConflictsQuestion.model_validate(params))
                document = CONFLICTS.dump_python(conflicts, mode="json")
            case "state.compare":
                compared = await self._compare(CompareQuestion.model_validate(params))
                document = COMPARED.dump_python(compared, mode="json")
            case "state.repair":
                repaired = await self._repair(RepairQuestion.model_validate(params), send)
                document = REPAIRED.dump_python(repaired, mode="json")
            case _:
                raise RpcError("no-such-method", f"an agent has no method {method!r} for the state")
        return document

    # --- Looking

    async def _get(self, question: GetQuestion) -> CellsAnswer:
        if self._level(question.namespace) is Level.STRONG:
            if question.kind not in {None, KeyKind.STRONG}:
                raise RpcError("bad-request", f"namespace {question.namespace} is strong; leave out --kind")
            found = await self._strong(question.namespace, question.key)
        elif question.kind is KeyKind.STRONG:
            raise RpcError("bad-request", f"namespace {question.namespace} is not strong; leave out --kind")
        else:
            kinds = KINDS if question.kind is None else (question.kind,)
            found = [
                cell for kind in kinds for cell in await self._cells(question.namespace, question.key, kind)
            ]
        found.sort(key=lambda cell: (cell.kind, cell.field, cell.actor or "", cell.seq))
        return CellsAnswer(tuple(found[:MOST_CELLS]), max(0, len(found) - MOST_CELLS))

    async def _cells(self, namespace: str, key: str, kind: KeyKind) -> list[CellView]:
        store = self._agent.store
        match KINDS[kind]:
            case Kind.REGISTER:
                found = await store.read_register(namespace, key)
                return [] if found is None else [_envelope(kind, "", found)]
            case Kind.MAP:
                fields = await store.read_map(namespace, key)
                return [_envelope(kind, field, found) for field, found in fields.items()]
            case Kind.COUNTER:
                tallies = await store.read_counter(namespace, key)
                return [_tally(actor, tally) for actor, tally in tallies.items()]
            case Kind.SET:
                elements = await store.read_set(namespace, key)
                return [cell for element, dots in elements.items() for cell in _dots(element, dots)]

    async def _strong(self, namespace: str, key: str) -> list[CellView]:
        """A linearizable read, begun in this region."""
        try:
            found = await self._agent.strong.get(namespace, key, STRONG_TIMEOUT_S)
        except Unavailable as error:
            raise RpcError("unavailable", str(error)) from error
        if found is None:
            return []
        return [_cell(KeyKind.STRONG, "", None, None, found.version, found.value)]

    async def _keys(self, question: KeysQuestion) -> KeysAnswer:
        self._replicated(question.namespace, "its registers can't be listed; ask for one by its key (get)")
        store, asked = self._agent.store, question.limit + 1
        found = [
            KeyView(key, NAMES[kind])
            for kind in Kind
            for key in await store.keys(question.namespace, kind, question.prefix, asked)
        ]
        return KeysAnswer(tuple(sorted(found)[: question.limit]), len(found) > question.limit)

    async def _conflicts(self, question: ConflictsQuestion) -> ConflictsAnswer:
        if question.namespace is not None:
            self._replicated(question.namespace, "its writes come one after the other and never conflict")
        wanted = None if question.namespace is None else {question.namespace}
        kept = await self._agent.store.conflicts(KEPT)
        statistics = await self._agent.store.statistics()
        counted: dict[str, int] = {}
        for (namespace, _), count in statistics.conflicts.items():
            if wanted is None or namespace in wanted:
                counted[namespace] = counted.get(namespace, 0) + count
        found = [
            ConflictView(
                namespace=conflict.namespace,
                kind=NAMES[conflict.at.kind],
                key=conflict.at.key,
                field=conflict.at.field,
                winner=str(conflict.winner),
                winner_stamp=conflict.winner_stamp,
                loser=str(conflict.loser),
                loser_stamp=conflict.loser_stamp,
            )
            for conflict in kept
            if wanted is None or conflict.namespace in wanted
        ]
        return ConflictsAnswer(tuple(found[: question.limit]), counted)

    # --- Comparing and mending

    async def _compare(self, question: CompareQuestion) -> ComparedAnswer:
        if question.namespace is not None:
            self._replicated(
                question.namespace, "a majority of its acceptors is the truth; nothing to compare"
            )
        end = self._clock.monotonic() + question.timeout_s
        membership = membership_of(self._agent.topology)
        return ComparedAnswer(
            tuple(
                [
                    await self._compared(namespace, peer, end)
                    for peer in question.peers
                    for namespace in sorted(membership.shared(self._region, peer))
                    if question.namespace in {None, namespace}
                ]
            )
        )

    async def _compared(self, namespace: str, peer: str, end: float) -> Comparison:
        """Tries until `end` (monotonic): regions that write all the time are seldom at rest."""
        reason = "what is on its way took too long, or one of them is taking state over"
        while (left := end - self._clock.monotonic()) > 0:
            if not self._agent.replicator.reaches(peer):
                reason = f"there is no link from {self._region} to {peer} now"
                break
            try:
                async with asyncio.timeout(left):
                    buckets = await self._agent.replicator.compare(peer, (namespace,))
            except PeerLost as error:
                reason = str(error)
                break
            except TimeoutError:
                break
            if buckets is not None:
                return Comparison(namespace, self._region, peer, buckets)
            await asyncio.sleep(PAUSE_S)
        return Comparison(namespace, self._region, peer, None, reason)

    async def _repair(self, question: RepairQuestion, send: Send) -> RepairAnswer:
        """Takes over what this region lacks, from each peer that differs: one transfer after the other."""
        self._replicated(question.namespace, "a majority of its acceptors is the truth; nothing to repair")
        end = self._clock.monotonic() + question.timeout_s
        transfers: list[str] = []
        reasons: dict[str, str] = {}
        for peer in self._agent.topology.holders(question.namespace):
            if peer == self._region:
                continue
            began = self._clock.monotonic()

            async def say(
                state: StepState, detail: str, step: str = f"compare with {peer}", began: float = began
            ) -> None:
                seconds = self._clock.monotonic() - began
                event = Progress(self._region, step, state, seconds, detail)
                await send(PROGRESS.dump_python(event, mode="json"))

            await say(StepState.WAITING, "")
            compared = await self._compared(question.namespace, peer, end)
            if not compared.buckets:
                if compared.buckets is None:
                    reasons[peer] = compared.reason
                failed = compared.buckets is None
                await say(StepState.FAILED if failed else StepState.DONE, compared.reason or "alike")
                continue
            await say(StepState.WAITING, f"{compared.buckets} of 256 buckets differ; transferring")
            try:
                async with asyncio.timeout(max(0.0, end - self._clock.monotonic())):
                    await self._agent.replicator.repair(peer)
            except (PeerLost, TimeoutError) as error:
                reasons[peer] = str(error) or "the transfer did not end in time; it goes on"
                await say(StepState.FAILED, reasons[peer])
            else:
                transfers.append(peer)
                await say(StepState.DONE, "transferred")
        return RepairAnswer(tuple(transfers), reasons)

    # --- What may be asked

    def _level(self, namespace: str) -> Level:
        topology = self._agent.topology
        found = topology.namespaces.get(namespace)
        if found is None:
            known = ", ".join(topology.namespaces) or "none"
            raise RpcError(
                "no-such-namespace", f"the topology has no namespace {namespace!r}; it has: {known}"
            )
        holders = topology.holders(namespace)
        if self._region not in holders:
            raise RpcError(
                "not-held",
                f"namespace {namespace} is not kept in {self._region}, but in: {', '.join(holders)}",
            )
        return found.level

    def _replicated(self, namespace: str, otherwise: str) -> None:
        if self._level(namespace) is Level.STRONG:
            raise RpcError("bad-request", f"namespace {namespace} is strong: {otherwise}")


def _envelope(kind: KeyKind, field: str, found: Envelope) -> CellView:
    return _cell(
        kind, field, found.stamp, found.actor, found.seq, found.payload, expiry_ms=found.expiry_ms or None
    )


def _tally(actor: str, tally: Tally) -> CellView:
    totals = f"+{tally.plus} -{tally.minus}".encode()
    return _cell(KeyKind.COUNTER, actor, None, actor, tally.seq, totals)


def _dots(element: str, dots: Dots) -> Iterator[CellView]:
    for dot in dots.live:
        yield _cell(KeyKind.SET, element, None, dot.actor, dot.seq, b"")
    for dot in dots.removed:
        yield _cell(KeyKind.SET, element, None, dot.actor, dot.seq, None)


def _cell(
    kind: KeyKind,
    field: str,
    stamp: str | None,
    actor: str | None,
    seq: int,
    value: bytes | None,
    expiry_ms: int | None = None,
) -> CellView:
    shown = value or b""
    return CellView(
        kind=kind,
        field=field,
        stamp=stamp,
        actor=actor,
        seq=seq,
        removed=value is None,
        expiry_ms=expiry_ms,
        value=None if value is None else shown[:SHOWN_BYTES].decode(errors="backslashreplace"),
        size=len(shown),
        digest=sha256(shown).hexdigest()[:12],
    )
