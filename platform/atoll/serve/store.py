"""Which application sets a region was given: the last one sent, the last one that ran, and the one before that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from atoll.serve.document import ApplicationSet
from atoll.topology.wiring import write_private


class SetStoreError(Exception):
    """A kept set can't be read or written; says which file, and what to do."""


@dataclass(frozen=True, slots=True)
class _Applied:
    applied: ApplicationSet
    schema: Literal["atoll.serve-applied/1"] = "atoll.serve-applied/1"


@dataclass(frozen=True, slots=True)
class _Good:
    good: ApplicationSet
    before: ApplicationSet | None
    schema: Literal["atoll.serve-good/1"] = "atoll.serve-good/1"


T = TypeVar("T")

_APPLIED = TypeAdapter(_Applied)
_GOOD = TypeAdapter(_Good)


class SetStore:
    """Two files of one region, each replaced as a whole. For one writer. Every method raises `SetStoreError`."""

    def __init__(self, applied: Path, good: Path) -> None:
        self._applied = applied
        self._good = good

    def applied(self) -> ApplicationSet | None:
        """The set that was sent last, whatever became of it."""
        record = _read(self._applied, _APPLIED)
        return None if record is None else record.applied

    def good(self) -> ApplicationSet | None:
        """The last set that ran."""
        record = _read(self._good, _GOOD)
        return None if record is None else record.good

    def rollback_target(self) -> ApplicationSet | None:
        """Where to go back to: the last set that ran if a later one failed, else the one that ran before it."""
        record = _read(self._good, _GOOD)
        if record is None:
            return None
        return record.before if self.applied() == record.good else record.good

    def save_applied(self, applied: ApplicationSet) -> None:
        """Notes a set that is about to be sent."""
        _write(self._applied, _APPLIED.dump_json(_Applied(applied), indent=1))

    def save_good(self, good: ApplicationSet) -> None:
        """Notes that a set runs. Back at the set before, there is nothing further to go back to."""
        record = _read(self._good, _GOOD)
        if record is not None and record.good == good:
            return
        before = None if record is None or record.before == good else record.good
        _write(self._good, _GOOD.dump_json(_Good(good, before), indent=1))


def _read(path: Path, adapter: TypeAdapter[T]) -> T | None:
    try:
        return adapter.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise SetStoreError(
            f"{path} holds no Serve application set: {error}; delete it to forget the set, then deploy"
        ) from error


def _write(path: Path, content: bytes) -> None:
    try:
        write_private(path, content)
    except OSError as error:
        raise SetStoreError(f"the Serve application set can't be kept in {path}: {error}") from error
