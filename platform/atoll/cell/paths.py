"""Where a run keeps its files: everything under one private folder, ``.atoll/``."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_LIMIT = 107
"""Bytes that a unix socket's path may have (``sun_path`` in Linux's unix(7), less its ending zero)."""

RAY_PATH_LIMIT = 45
"""Bytes that leave room for the sockets that Ray makes below its temporary folder (they add about 62)."""


class PathTooLong(Exception):
    """The run's folder lies so deep that its sockets can't be made; says what to do."""


@dataclass(frozen=True, slots=True)
class RegionPaths:
    """The files of one region's cell."""

    name: str
    root: Path
    logs: Path
    secrets: Path

    @property
    def warden_config(self) -> Path:
        return self.root / "warden.json"

    @property
    def warden_socket(self) -> Path:
        return self.root / "warden.sock"

    @property
    def agent_config(self) -> Path:
        return self.root / "agent.json"

    @property
    def agent_socket(self) -> Path:
        return self.root / "agent.sock"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def state_marker(self) -> Path:
        """Which store is the region's (`atoll.state.marker`): beside the store's folder, not in it."""
        return self.root / "state-marker.json"

    @property
    def state_wiring(self) -> Path:
        """How replicas find the region's state."""
        return self.root / "state.json"

    @property
    def drain(self) -> Path:
        """While this file exists, the region is draining."""
        return self.root / "drain"

    @property
    def serve_applied(self) -> Path:
        """The Serve application set that was last sent."""
        return self.root / "serve-applied.json"

    @property
    def serve_good(self) -> Path:
        """The last Serve application set that became healthy."""
        return self.root / "serve-good.json"

    @property
    def ray_token(self) -> Path:
        return self.secrets / f"{self.name}-ray-token"

    @property
    def cache_password(self) -> Path:
        return self.secrets / f"{self.name}-cache-password"

    @property
    def state_password(self) -> Path:
        return self.secrets / f"{self.name}-state-password"

    def gateway_wiring(self, number: int) -> Path:
        return self.root / f"gateway-{number}.json"

    def gateway_state(self, number: int) -> Path:
        """Where gateway ``number`` keeps what a restart of it should find."""
        return self.root / f"gateway-{number}"

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The files of one run. ``root`` is the real path of ``.atoll``; one checkout has one run at a time."""

    root: Path

    @classmethod
    def below(cls, folder: Path) -> "RunPaths":
        """The run of a checkout: ``<folder>/.atoll``, links resolved. Nothing is created."""
        return cls((folder / ".atoll").resolve())

    @property
    def home(self) -> str:
        """Twelve hex digits that stand for this folder in the mark of its processes."""
        return hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def ray_start_lock(self) -> Path:
        """Held by the region whose Ray is being started."""
        return self.root / "ray-start.lock"

    @property
    def facts(self) -> Path:
        return self.root / "run.json"

    @property
    def topology(self) -> Path:
        """The topology as the run began with it, for a warden that starts anew after a bad edit of the file."""
        return self.root / "topology.toml"

    @property
    def rehearsed_topology(self) -> Path:
        """The topology without a mechanism that gateways are told to do without."""
        return self.root / "rehearsed-topology.toml"

    @property
    def rollout(self) -> Path:
        """What the last deployment changed, so that it can be taken back."""
        return self.root / "rollout.json"

    @property
    def supervisor_socket(self) -> Path:
        return self.root / "supervisor.sock"

    @property
    def links_config(self) -> Path:
        return self.root / "links.json"

    @property
    def links_socket(self) -> Path:
        return self.root / "links.sock"

    @property
    def entry_wiring(self) -> Path:
        return self.root / "entry.json"

    @property
    def entry_state(self) -> Path:
        return self.root / "entry"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def peer_token(self) -> Path:
        return self.secrets / "peer-token"

    @property
    def admin_token(self) -> Path:
        return self.secrets / "admin-token"

    @property
    def agent_token(self) -> Path:
        """What agents show each other, and replicas to their region's agent."""
        return self.secrets / "agent-token"

    @property
    def session_key(self) -> Path:
        """What session tokens are signed with."""
        return self.secrets / "session-key"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    def region(self, name: str) -> RegionPaths:
        return RegionPaths(name, self.root / name, self.logs / name, self.secrets)

    def prepare(self, regions: tuple[str, ...]) -> None:
        """Makes the folders, private to their owner. Raises `PathTooLong` before it makes any."""
        sockets = [self.supervisor_socket, self.links_socket]
        sockets += [path for name in regions for path in self._sockets(name)]
        longest = max(sockets, key=lambda path: len(os.fsencode(path)))
        excess = len(os.fsencode(longest)) - SOCKET_PATH_LIMIT
        if excess > 0:
            raise PathTooLong(
                f"the socket {longest} would have a path {excess} bytes longer than unix sockets allow "
                f"({SOCKET_PATH_LIMIT}); run from a folder with a shorter path"
            )
        folders = [self.root, self.secrets, self.logs, self.entry_state]
        for name in regions:
            region = self.region(name)
            folders += [region.root, region.logs, region.cache, region.state]
        for folder in folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.secrets.chmod(0o700)

    def _sockets(self, region: str) -> tuple[Path, Path]:
        paths = self.region(region)
        return paths.warden_socket, paths.agent_socket


def make_ray_folder(region: RegionPaths) -> Path:
    """A private folder for Ray's temporary files: below the region's if that path is short enough for Ray's sockets,
    else a new one in the system's temporary folder. Whoever calls this removes it when the run ends.
    """
    below = region.root / "ray"
    if len(os.fsencode(below)) <= RAY_PATH_LIMIT:
        shutil.rmtree(below, ignore_errors=True)
        below.mkdir(mode=0o700)
        return below
    return Path(tempfile.mkdtemp(prefix="atoll-"))
