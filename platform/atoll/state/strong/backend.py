"""What a backend of strong registers offers, and how it fails.

Every failure says which of two it is: `Unavailable`, and the change was certainly not made; `Unknown`, and it may have
been made, may still come into force, or may never. After `Unknown` the same change may be asked for again under the
same operation id, through any proposer: it is made once at most, and its first outcome is the answer.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Protocol, TypeAlias


class Expect(Enum):
    """What a change expects to find, where it isn't a version."""

    ABSENT = "absent"
    """No value: never written, or deleted."""
    ANY = "any"
    """Whatever there is."""


ABSENT: Final = Expect.ABSENT
ANY: Final = Expect.ANY


class Deletion(Enum):
    """What is written to delete."""

    DELETE = "delete"


DELETE: Final = Deletion.DELETE
Delete: TypeAlias = Literal[Deletion.DELETE]


@dataclass(frozen=True, slots=True)
class Versioned:
    """A register's value. Each change raises the version, a deletion too: no two values of a key share one."""

    version: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """Writes `value` (or deletes) if the register is as expected."""

    expect: int | Expect
    """The version that it must have, `ABSENT` or `ANY`."""
    value: bytes | Delete
    operation_id: str
    """The same for every repetition of one change, and for no other; any text, 1 to 128 characters."""
    changes: int = 1
    """How many it stands for, made one after the other: so much it raises the version."""
    caller: str = ""
    """Who tries until it succeeds, and takes turns with others that do. What a conflict tells such a one is what the
    register was a moment ago: something to go by in the next try, and no read."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.operation_id) <= 128:
            raise ValueError(f"an operation id has 1 to 128 characters, not {len(self.operation_id)}")
        if self.changes < 1:
            raise ValueError(f"a change stands for one at least, not for {self.changes}")


@dataclass(frozen=True, slots=True)
class Committed:
    """The change is made, durably, and every later read sees it or what followed it."""

    version: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """The register was not as expected; nothing was changed, and nothing will be under this operation id."""

    current: Versioned | None
    """What it is now; for a repeated change, now and not when the change was first tried."""


Outcome: TypeAlias = Committed | Conflict


class StrongError(Exception):
    """An operation on a strong register has no outcome. The message says what happened and what to do."""


class Unavailable(StrongError):
    """Certainly not done, and it never will be."""


class Unknown(StrongError):
    """Perhaps done, perhaps later, perhaps never. Ask again with the same operation id."""


class StrongBackend(Protocol):
    """Linearizable registers: each operation takes effect at one moment between its call and its return."""

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        """The value; None if there is none. Raises `Unavailable`."""
        ...

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        """Makes a change, once at most. Raises `Unavailable` and `Unknown`.

        `timeout_s` is for the whole operation; None stands for the backend's own limit.
        """
        ...
