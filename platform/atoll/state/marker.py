"""What a region remembers of its state store beside it, never in it: so a store that lost its disk is noticed."""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from atoll.state.errors import StateError
from atoll.state.vector import Actor, epoch_of
from atoll.topology.wiring import write_private

IDENTITY_BYTES = 16


class MarkerError(StateError):
    """A marker that can't be used; says which and what to do."""


@dataclass(frozen=True, slots=True)
class StoreMarker:
    """Which store is the region's, and how often it was found empty. Whoever opens the store keeps it up to date."""

    identity: str
    """A store with the data of another one is refused."""
    epoch: int = 0
    """The last one that began; 0: the store was never opened. The next is larger, whatever the store has forgotten."""
    losses: int = 0
    """How often the store had been opened before and was empty: its disk was lost. Such a region must be transferred to
    before it counts as complete; one that was never opened may be a founding member."""

    opening: bool = False
    """An opening was begun and not finished: if the store was empty then, nobody has taken note of it."""

    def before(self) -> "StoreMarker":
        """The marker while an epoch is about to begin."""
        return replace(self, opening=True)

    def after(self, actor: Actor, *, fresh: bool, complete: bool) -> "StoreMarker":
        """The marker once an epoch has begun, from the one that was found before. `fresh` is what opening it said,
        `complete` what the store says of itself.
        """
        lost = self.epoch > 0 and (fresh or (self.opening and not complete))
        return replace(self, epoch=epoch_of(actor), losses=self.losses + lost, opening=False)


_MARKER = TypeAdapter(StoreMarker)


def ensure_marker(path: Path) -> StoreMarker:
    """Reads a region's marker, or makes the first one with a random identity. Of several who find none, one makes it,
    and all get that one. Raises `MarkerError`, `OSError`.
    """
    try:
        return _MARKER.validate_json(path.read_bytes())
    except FileNotFoundError:
        _make(path)
        return ensure_marker(path)
    except ValidationError as error:
        raise MarkerError(
            f"{path} does not say which state store is the region's: {error}; bring the file back, or remove it "
            "together with the store's data: the region then gets them from the others"
        ) from error


def write_marker(path: Path, marker: StoreMarker) -> None:
    """Replaces a marker, whole or not at all, and has it on disk. Raises `OSError`."""
    write_private(path, _MARKER.dump_json(marker))


def _make(path: Path) -> None:
    mine = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    write_marker(mine, StoreMarker(secrets.token_hex(IDENTITY_BYTES)))
    try:
        path.hardlink_to(mine)
    except FileExistsError:
        pass  # somebody else was first
    finally:
        mine.unlink()
