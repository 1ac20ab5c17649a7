"""The document ``atoll.explain/1``."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema

from atoll.geo.place import UNKNOWN, Coordinates, Place
from atoll.routing import (
    EXPLAIN,
    ExplainDocument,
    RegionHealth,
    RegionView,
    allowed_zones,
    explain,
    rank,
    steer,
)
from atoll.topology import load

LOCAL = load(Path(__file__).parents[2] / "infra/topologies/local.toml")
TOPOLOGY = replace(LOCAL, zones={**LOCAL.zones, "eu": replace(LOCAL.zones["eu"], confined=True)})
IRELAND = Place("IE", Coordinates(53.3, -6.3), "geoip-city")


def explained(place: Place) -> ExplainDocument:
    service = TOPOLOGY.services["quote"]
    views = [
        RegionView(
            region.name,
            region.zone,
            TOPOLOGY.rtt_ms("us-east", region.name),
            healthy=True,
            health_reason="",
            draining=False,
            replicas=1,
        )
        for region in TOPOLOGY.regions.values()
    ]
    return explain(
        TOPOLOGY,
        service,
        client="198.51.100.7",
        place=place,
        gateway="us-east/gateway-1",
        routed_from="us-east",
        steering=steer(
            TOPOLOGY, None, dict.fromkeys(TOPOLOGY.regions, RegionHealth(healthy=True, reason=""))
        ),
        routing=rank(service, allowed_zones(TOPOLOGY, service, place.country), views, TOPOLOGY.routing),
    )


def test_both_decisions_name_every_region_with_score_and_reason() -> None:
    document = explained(IRELAND)
    for decision in (document.steering, document.routing):
        assert {one.region for one in decision.candidates} == set(TOPOLOGY.regions)
        assert all(one.reason for one in decision.candidates)
    assert document.steering.chosen == "us-east"
    assert document.routing.chosen == "eu-west"
    assert document.routing.candidates[1].reason == "zone us is not allowed, only eu"


def test_residency_says_where_each_restriction_comes_from() -> None:
    residency = explained(IRELAND).residency
    assert residency.zones == ("eu",)
    assert [(one.source, one.zones) for one in residency.restrictions] == [
        ("service quote", ("apac", "eu", "us")),
        ("country IE", ("eu",)),
    ]


def test_an_unknown_place_says_where_it_counts_as_standing() -> None:
    assert explained(UNKNOWN).place.stands_in == "us-east"
    assert explained(IRELAND).place.stands_in is None


def test_the_json_form_reads_back_and_fits_its_schema() -> None:
    document = explained(IRELAND)
    text = EXPLAIN.dump_json(document)
    assert EXPLAIN.validate_json(text) == document
    raw = json.loads(text)
    assert raw["schema"] == "atoll.explain/1"
    assert raw["topology"] == {"name": "local", "revision": 1, "digest": TOPOLOGY.digest}
    jsonschema.validate(raw, EXPLAIN.json_schema(mode="serialization"))
