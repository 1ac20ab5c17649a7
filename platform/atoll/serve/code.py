"""Versions of the services' code, so that an edited service is rolled out by the next deploy.

Serve takes an application for changed if its import path, arguments or environment differ, and never looks into
files. Atoll therefore puts a hash of the code into the environment.
"""

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

from atoll.topology import ServiceKind, Topology

VERSION_DIGITS = 16
"""Hexadecimal digits of a version: 64 bits, far beyond the number of versions that anyone deploys."""


class CodeNotFound(Exception):
    """The code of a service can't be found on this machine; says which, and what to do."""


def code_versions(topology: Topology) -> Mapping[str, str]:
    """The version of every service's code, by service.

    A service's code is its whole top-level package, data files included: modules that services share must roll all
    of them, and a replica that runs old shared code is worse than one that is replaced without need.
    Raises `CodeNotFound`. Imports nothing.
    """
    by_package: dict[str, str] = {}
    versions: dict[str, str] = {}
    for service in topology.services.values():
        if service.kind is not ServiceKind.SERVE:
            continue
        package = service.import_path.partition(":")[0].partition(".")[0]
        if package not in by_package:
            by_package[package] = _hash(_find(package, service.name))
        versions[service.name] = by_package[package]
    return versions


def _find(package: str, service: str) -> Path:
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        spec = None
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    if spec is not None and spec.origin is not None:
        return Path(spec.origin)
    raise CodeNotFound(
        f"service {service}: there is no Python package {package!r} here; install it beside Atoll, put its folder on "
        f"PYTHONPATH, or correct the service's import_path"
    )


def _hash(root: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(root):
        content = path.read_bytes()
        name = path.relative_to(root.parent).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:VERSION_DIGITS]


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            yield path
