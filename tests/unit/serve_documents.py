"""Documents of a real Serve (Ray 2.60.0), and the set that it was given when they were recorded."""

from dataclasses import replace
from pathlib import Path

from atoll.serve.applications import ServeSettings, application_set
from atoll.serve.document import ApplicationSet
from atoll.serve.status import SERVE_STATUS, ServeStatus
from atoll.topology import Topology, load
from atoll.topology.wiring import Address

DATA = Path(__file__).parent / "data" / "serve"
PROXY = Address("127.0.0.1", 29512)


def topology() -> Topology:
    return load(DATA / "topology.toml")


def status(name: str) -> ServeStatus:
    return SERVE_STATUS.validate_json((DATA / f"{name}.json").read_bytes())


def wanted() -> ApplicationSet:
    return application_set(topology(), "eu-west", ServeSettings(http=PROXY, grpc_port=29513))


def importing(given: ApplicationSet, name: str, import_path: str) -> ApplicationSet:
    """The same set with another import path for one application."""
    return replace(
        given,
        applications=tuple(
            replace(application, import_path=import_path) if application.name == name else application
            for application in given.applications
        ),
    )
