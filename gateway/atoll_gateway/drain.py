"""Whether the region is draining: a file says so, so that a gateway that starts anew knows it too."""

from collections.abc import Callable
from pathlib import Path


class DrainFlag:
    """Draining while the file exists, or once `leave` was called because this process is about to end."""

    def __init__(self, path: Path | None, changed: Callable[[], None]) -> None:
        self._path = path
        self._changed = changed
        self._leaving = False
        self._set = self._look()

    def __bool__(self) -> bool:
        return self._set or self._leaving

    def leave(self) -> None:
        """This gateway is about to end: peers are told to send nothing new."""
        self._leaving = True
        self._changed()

    def poll(self) -> None:
        """Looks once whether the file is there; costs one `stat`."""
        now = self._look()
        if now != self._set:
            self._set = now
            self._changed()

    def _look(self) -> bool:
        return self._path is not None and self._path.exists()
