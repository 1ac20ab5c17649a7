"""Where a machine's roles keep their files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NodeSecrets:
    """One file a secret, readable by their owner alone; put there by whoever starts the machine."""

    root: Path

    @property
    def ray_token(self) -> Path:
        return self.root / "ray-token"

    @property
    def gcs_password(self) -> Path:
        return self.root / "gcs-password"

    @property
    def cache_password(self) -> Path:
        return self.root / "cache-password"

    @property
    def state_password(self) -> Path:
        return self.root / "state-password"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin-token"

    @property
    def agent_token(self) -> Path:
        return self.root / "agent-token"

    @property
    def peer_token(self) -> Path:
        return self.root / "peer-token"

    @property
    def session_key(self) -> Path:
        return self.root / "session-key"

    @property
    def certificate(self) -> Path:
        return self.root / "tls" / "cert.pem"

    @property
    def key(self) -> Path:
        return self.root / "tls" / "key.pem"

    @property
    def authority(self) -> Path:
        return self.root / "tls" / "ca.pem"


@dataclass(frozen=True, slots=True)
class RoleFiles:
    """The files of one role on this machine."""

    run: Path
    """Made anew at each start of the machine."""
    data: Path

    @property
    def control(self) -> Path:
        """The socket by which the role is told to drain."""
        return self.run / "control.sock"

    @property
    def wiring(self) -> Path:
        """What the role's process is started with."""
        return self.run / "wiring.json"

    @property
    def agent_socket(self) -> Path:
        return self.run / "agent.sock"

    @property
    def state_wiring(self) -> Path:
        """How replicas on this machine find their region's state."""
        return self.run / "state.json"

    @property
    def drain(self) -> Path:
        """While this file exists, this machine's gateway is draining."""
        return self.run / "drain"

    @property
    def topology(self) -> Path:
        """The last topology that was taken up here, for a start after a bad one was published."""
        return self.data / "taken-up.toml"

    @property
    def ray(self) -> Path:
        return self.data / "ray"

    @property
    def store(self) -> Path:
        return self.data / "store"

    @property
    def serve_applied(self) -> Path:
        return self.data / "serve-applied.json"

    @property
    def serve_good(self) -> Path:
        return self.data / "serve-good.json"

    def prepare(self) -> None:
        """Makes the folders, private to their owner. Raises `OSError`."""
        for folder in (self.run, self.data, self.store):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
