"""``/etc/atoll/node.toml``: which region a machine belongs to, and where things are on it.

What is the same for all machines stands in the topology, so that a region that joins changes no machine's file.
"""

import tomllib
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from atoll.cell.ray_head import PortRange, RayPorts
from atoll.topology.document import Host, Name
from atoll.topology.problems import Problem, from_validation


class NodeError(Exception):
    """A machine that can't run the role; `problems` holds everything that is wrong, not just the first."""

    def __init__(self, subject: str, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{subject}: {count}, nothing was started{lines}")


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Ports that the topology doesn't name. The same on all machines of a region, but for `ray`'s on a machine that has
    several nodes.
    """

    public: int
    admin: int
    metrics: int
    """Of the agent, whose figures these are; a gateway tells its own at `admin`."""
    gcs_store: int
    ray: RayPorts


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One machine."""

    region: str
    address: str
    """This machine's own, an IP address: where it listens."""
    topology: Path
    secrets: Path
    data: Path
    """Survives the process, and where a volume is mounted the machine."""
    run: Path
    """Wiring and sockets, a folder a role."""
    gateway: str
    """The name of this machine's gateway within the region."""
    cpus: int | None
    """Logical processors that Ray offers here; None: none on the head, all on a worker."""
    domain: str | None
    """What certificates are issued under; None: no TLS, on loopback alone."""
    ports: NodePorts


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("write the whole path, from '/'")
    return text


def _address(text: str) -> str:
    if ip_address(text).is_unspecified:
        raise ValueError("name the one address by which other machines reach this one")
    return text


Folder = Annotated[str, AfterValidator(_absolute)]
Port = Annotated[int, Field(ge=1, le=65535)]
PortPair = Annotated[list[Port], Field(min_length=2, max_length=2)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PortsDocument(_Strict):
    public: Port = 8080
    admin: Port = 9901
    metrics: Port = 9902
    gcs_store: Port = 6380
    gcs: Port = 6381
    serve_http: Port = 8000
    serve_grpc: Port = 9000
    dashboard: Port = 8265
    dashboard_agent_http: Port = 8266
    dashboard_agent_grpc: Port = 8267
    metrics_export: Port = 8268
    runtime_env_agent: Port = 8269
    dashboard_metrics: Port = 8270
    node_manager: Port = 8271
    object_manager: Port = 8272
    workers: PortPair = [10002, 19999]
    ingress_http: PortPair = [30000, 30999]
    ingress_grpc: PortPair = [31000, 31999]


class NodeDocument(_Strict):
    """The file as a whole."""

    schema_: Literal["atoll.node/1"] = Field(alias="schema")
    region: Name
    address: Annotated[str, AfterValidator(_address)]
    topology: Folder
    secrets: Folder
    data: Folder
    run: Folder = "/run/atoll"
    gateway: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$", max_length=40)
    cpus: int | None = Field(default=None, ge=0, le=1024)
    tls: bool = True
    domain: Host | None = Field(default=None, validate_default=True)
    ports: PortsDocument = PortsDocument()

    @field_validator("domain")
    @classmethod
    def _certified(cls, domain: str | None, info: ValidationInfo) -> str | None:
        if domain is None and info.data.get("tls"):
            raise ValueError("certificates are issued under it; name it, or set `tls = false`")
        return domain


def read_node_config(path: Path) -> NodeConfig:
    """Raises `NodeError` with every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not UTF-8 text"
        raise NodeError(
            str(path), [Problem("(file)", "unreadable", f"{reason}; give a node's file with --config")]
        ) from error
    try:
        return _config(NodeDocument.model_validate(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise NodeError(str(path), [Problem("(file)", "not TOML", str(error))]) from error
    except ValidationError as error:
        raise NodeError(str(path), from_validation(error, NodeDocument)) from error
    except ValueError as error:
        raise NodeError(str(path), [Problem("ports", "", str(error))]) from error


def _config(document: NodeDocument) -> NodeConfig:
    return NodeConfig(
        region=document.region,
        address=document.address,
        topology=Path(document.topology),
        secrets=Path(document.secrets),
        data=Path(document.data),
        run=Path(document.run),
        gateway=document.gateway or document.address,
        cpus=document.cpus,
        domain=document.domain if document.tls else None,
        ports=_ports(document.ports),
    )


def _ports(document: PortsDocument) -> NodePorts:
    return NodePorts(
        public=document.public,
        admin=document.admin,
        metrics=document.metrics,
        gcs_store=document.gcs_store,
        ray=RayPorts(
            gcs=document.gcs,
            dashboard=document.dashboard,
            dashboard_agent_http=document.dashboard_agent_http,
            dashboard_agent_grpc=document.dashboard_agent_grpc,
            metrics_export=document.metrics_export,
            runtime_env_agent=document.runtime_env_agent,
            dashboard_metrics=document.dashboard_metrics,
            node_manager=document.node_manager,
            object_manager=document.object_manager,
            serve_http=document.serve_http,
            serve_grpc=document.serve_grpc,
            workers=PortRange(*document.workers),
            ingress_http=PortRange(*document.ingress_http),
            ingress_grpc=PortRange(*document.ingress_grpc),
        ),
    )
