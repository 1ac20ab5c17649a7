"""From what provisioning says (`atoll.deployment/1`) and a topology that was written by hand to one topology file.

Regions, their addresses and links come from the deployment; zones, services, namespaces and policies stay as the base
has them, comments included.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import cast

import tomlkit
from pydantic import ValidationError
from tomlkit.items import AoT, Item, Table

from atoll.geo.place import Coordinates, great_circle_km
from atoll.geo.rtt import RoundTripModel
from atoll.topology import (
    Problem,
    Topology,
    TopologyError,
    check_joining_and_leaving,
    check_namespaces,
    parse,
)
from atoll.topology.deployment import DEPLOYMENT, DeployedRegion, Deployment
from atoll.topology.problems import from_validation, unknown

BETWEEN_REGIONS = RoundTripModel(base_ms=2.0)
"""Data centres have no access line; 2 ms for what stands between a machine and the long way."""
EMPTY_LINES = re.compile(r"\n{3,}\[\[links\]\]")
"""A link that is taken over brings its own."""
JITTER = 0.03
"""Of the round trip: what the measured links of `infra/topologies` have."""


def read_deployment(text: str, source: Path) -> Deployment:
    """Raises `TopologyError` with every problem found; `source` appears in messages only."""
    try:
        return DEPLOYMENT.validate_json(text)
    except ValidationError as error:
        raise TopologyError(source, from_validation(error, Deployment)) from error


def imported(deployment: Deployment, base: str, base_path: Path, current: Topology | None) -> str | None:
    """The text of the new topology file: the base's, for the deployment's regions. Pure.

    `current` is what the file has now, if there is one: None if that says the same already. Raises `TopologyError` if
    base and deployment make no sound topology, and `SuccessionError` if it can't follow the current one.
    """
    before = parse(base, base_path)
    document = tomlkit.parse(base)
    _check_zones(deployment, before, base_path)
    used = {region.zone for region in deployment.regions.values()}
    zones = cast(dict[str, object], document["zones"])
    for zone in before.zones.keys() - used:
        del zones[zone]
    document["name"] = deployment.name
    document["regions"] = _regions(deployment, before)
    document["links"] = _links(deployment, document.get("links", []))
    revision = before.revision if current is None else current.revision
    document["revision"] = revision
    if current is not None and parse(tomlkit.dumps(document), base_path).digest == current.digest:
        return None
    document["revision"] = max(before.revision, revision) + 1
    text = EMPTY_LINES.sub("\n\n[[links]]", tomlkit.dumps(document))
    candidate = parse(text, base_path)
    if current is not None:
        _check_name(current, candidate, base_path)
        check_namespaces(current.namespaces, candidate.namespaces)
        check_joining_and_leaving(current, candidate)
    return text


def _check_zones(deployment: Deployment, base: Topology, path: Path) -> None:
    problems = [
        unknown(f"regions.{name}.zone", region.zone, "zone of the base", base.zones)
        for name, region in deployment.regions.items()
        if region.zone not in base.zones
    ]
    used = {region.zone for region in deployment.regions.values()}
    problems += [
        Problem(
            f"zones.{zone.name}",
            "confined",
            "the deployment has no region in it, so clients in its countries could be served nowhere; provision one, "
            "or take the zone out of the base",
        )
        for zone in base.zones.values()
        if zone.confined and zone.name not in used
    ]
    if problems:
        raise TopologyError(path, problems)


def _check_name(current: Topology, candidate: Topology, path: Path) -> None:
    if current.name != candidate.name:
        remedy = f"the file that is there is of {current.name!r}; write this one to another file"
        raise TopologyError(path, [Problem("name", repr(candidate.name), remedy)])


def _regions(deployment: Deployment, base: Topology) -> Table:
    regions = tomlkit.table(is_super_table=True)
    kept = [name for name in base.regions if name in deployment.regions]
    for name in (*kept, *(name for name in deployment.regions if name not in base.regions)):
        regions.append(name, _region(deployment.regions[name], base, name))
    return regions


def _region(region: DeployedRegion, base: Topology, name: str) -> Table:
    table = tomlkit.table()
    table.comment(region.aws_region)
    for key in ("title", "latitude", "longitude", "zone"):
        table.append(key, getattr(region, key))
    known = base.regions.get(name)
    if known is not None:
        table.append("cpus", known.cpus)
    addresses = {
        "public": region.public_url,
        "gateways": region.gateways,
        "agent": region.agent,
        "head": region.head,
    }
    table.append("addresses", _table(addresses))
    table.append("stores", _table({"cache": region.cache, "state": region.state}))
    table.add(tomlkit.nl())
    return table


def _links(deployment: Deployment, written: Iterable[Table]) -> AoT:
    """A link that is in the base has been measured, or is an estimate that says so: it stays as it is written."""
    known = {frozenset(link["between"]): link for link in written}
    links = tomlkit.aot()
    for a, b in combinations(deployment.regions, 2):
        links.append(known.get(frozenset((a, b))) or _estimated(deployment, a, b))
    return links


def _estimated(deployment: Deployment, a: str, b: str) -> Table:
    near, far = (
        Coordinates(region.latitude, region.longitude)
        for region in (deployment.regions[a], deployment.regions[b])
    )
    rtt_ms = BETWEEN_REGIONS.over(great_circle_km(near, far))
    table = _table({"between": [a, b], "rtt_ms": round(rtt_ms), "jitter_ms": round(rtt_ms * JITTER)})
    cast(Item, table["rtt_ms"]).comment("estimated from the distance; measure it")
    table.add(tomlkit.nl())
    return table


def _table(values: Mapping[str, object]) -> Table:
    table = tomlkit.table()
    for key, value in values.items():
        table.append(key, value)
    return table
