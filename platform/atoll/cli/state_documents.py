"""What `atoll state` says: one document a verb, put together from several regions' answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from atoll.agent.inspection import CellsAnswer, Comparison, ConflictsAnswer, KeyView
from atoll.cell.state_report import PeerLag


@dataclass(frozen=True, slots=True)
class GetDocument:
    """One key, as each region has it."""

    namespace: str
    key: str
    regions: Mapping[str, CellsAnswer]
    """Those that answered; regions outside the namespace's residency are left out."""
    differing: tuple[str, ...]
    """The cells that these regions don't have alike; writes on their way are among them."""
    silent: Mapping[str, str]
    """Region -> why it gave no answer."""
    schema: str = "atoll.state-get/1"


@dataclass(frozen=True, slots=True)
class KeyPlaces:
    """A key, and where it is."""

    at: KeyView
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeysDocument:
    """The keys of a namespace that have a cell, tombstones included, in order."""

    namespace: str
    keys: tuple[KeyPlaces, ...]
    more: bool
    """Whether there are more of them after the last."""
    regions: tuple[str, ...]
    """Those that answered."""
    silent: Mapping[str, str]
    schema: str = "atoll.state-keys/1"


@dataclass(frozen=True, slots=True)
class ConflictsDocument:
    """Conflicts as each region has merged them: never a value."""

    regions: Mapping[str, ConflictsAnswer]
    silent: Mapping[str, str]
    schema: str = "atoll.state-conflicts/1"


@dataclass(frozen=True, slots=True)
class LagDocument:
    """How far each region is behind each other one."""

    regions: Mapping[str, Mapping[str, PeerLag]]
    """Region -> the other region -> how far it is behind that one."""
    silent: Mapping[str, str]
    schema: str = "atoll.state-lag/1"


@dataclass(frozen=True, slots=True)
class VerifyDocument:
    """Digests compared, between each two regions that hold a namespace."""

    equal: bool | None
    """None: it could not be told of all, and none of the others differs."""
    compared: tuple[Comparison, ...]
    silent: Mapping[str, str]
    schema: str = "atoll.state-verify/1"


@dataclass(frozen=True, slots=True)
class RepairDocument:
    """What was taken over, and how the regions compare afterwards."""

    namespace: str
    transfers: Mapping[str, tuple[str, ...]]
    """Region -> the regions from which it has taken over what it lacked."""
    equal: bool | None
    compared: tuple[Comparison, ...]
    silent: Mapping[str, str]
    schema: str = "atoll.state-repair/1"


GET: TypeAdapter[GetDocument] = TypeAdapter(GetDocument)
KEYS: TypeAdapter[KeysDocument] = TypeAdapter(KeysDocument)
CONFLICTS: TypeAdapter[ConflictsDocument] = TypeAdapter(ConflictsDocument)
LAG: TypeAdapter[LagDocument] = TypeAdapter(LagDocument)
VERIFY: TypeAdapter[VerifyDocument] = TypeAdapter(VerifyDocument)
REPAIR: TypeAdapter[RepairDocument] = TypeAdapter(RepairDocument)

STATE_DOCUMENTS: Mapping[str, TypeAdapter[Any]] = MappingProxyType(
    {
        "atoll.state-conflicts/1": CONFLICTS,
        "atoll.state-get/1": GET,
        "atoll.state-keys/1": KEYS,
        "atoll.state-lag/1": LAG,
        "atoll.state-repair/1": REPAIR,
        "atoll.state-verify/1": VERIFY,
    }
)
