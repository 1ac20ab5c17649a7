import json
from dataclasses import replace

import pytest
from tests.unit.serve_documents import topology

from atoll.serve.applications import INGRESS_DEPLOYMENT, ServeSettings, application_set
from atoll.serve.document import APPLICATION_SET
from atoll.topology import AutoscalingPolicy
from atoll.topology.wiring import Address

SETTINGS = ServeSettings(http=Address("127.0.0.1", 20009), grpc_port=20010)


def test_every_service_of_the_region_becomes_an_application_with_its_marks() -> None:
    one, two = application_set(topology(), "eu-west", SETTINGS).applications
    assert (one.name, one.route_prefix, one.import_path) == ("one", "/one", "shop:app")
    assert one.runtime_env.env_vars == {"ATOLL_REGION": "eu-west", "ATOLL_ZONE": "eu", "ATOLL_SERVICE": "one"}
    assert one.args == {}
    assert two.args == {"word": "args"}


def test_the_topology_says_how_a_service_scales() -> None:
    known = topology()
    service = known.services["two"]
    given = replace(
        known,
        services={
            "two": replace(
                service,
                replicas=replace(
                    service.replicas, minimum=2, maximum=7, target_in_flight=8.5, max_in_flight=40
                ),
            )
        },
    )
    (application,) = application_set(given, "eu-west", SETTINGS).applications
    (options,) = application.deployments
    assert options.name == INGRESS_DEPLOYMENT
    assert options.max_ongoing_requests == 40
    assert 0 < options.max_queued_requests <= 40
    assert (options.autoscaling_config.min_replicas, options.autoscaling_config.max_replicas) == (2, 7)
    assert options.autoscaling_config.target_ongoing_requests == 8.5


def test_the_topology_says_how_soon_services_scale() -> None:
    known = replace(
        topology(),
        autoscaling=AutoscalingPolicy(look_back_s=2.0, upscale_delay_s=0.5, downscale_delay_s=20.0),
    )
    for application in application_set(known, "eu-west", SETTINGS).applications:
        (options,) = application.deployments
        scaling = options.autoscaling_config
        assert (scaling.look_back_period_s, scaling.upscale_delay_s, scaling.downscale_delay_s) == (
            2.0,
            0.5,
            20.0,
        )
        assert scaling.metrics_interval_s < scaling.look_back_period_s, "or Serve averages over nothing"


def test_a_replica_has_longer_to_stop_than_any_of_its_requests_may_take() -> None:
    known = topology()
    given = application_set(known, "eu-west", SETTINGS)
    for application in given.applications:
        timeout_s = known.services[application.name].timeout_s
        assert all(options.graceful_shutdown_timeout_s > timeout_s for options in application.deployments)


def test_serve_never_ends_a_request_before_the_service_does() -> None:
    known = topology()
    patient = replace(known, services={"one": replace(known.services["one"], timeout_s=4000.0)})
    assert application_set(patient, "eu-west", SETTINGS).http_options.request_timeout_s == 4000.0


def test_services_placed_elsewhere_are_left_out() -> None:
    known = topology()
    away = replace(known, services={**known.services, "one": replace(known.services["one"], regions=())})
    assert [application.name for application in application_set(away, "eu-west", SETTINGS).applications] == [
        "two"
    ]


def test_an_unknown_region_is_an_error() -> None:
    with pytest.raises(KeyError, match="mars"):
        application_set(topology(), "mars", SETTINGS)


def test_new_code_changes_only_the_services_that_it_belongs_to() -> None:
    def with_code(one: str, two: str) -> dict[str, str]:
        settings = replace(SETTINGS, code={"one": one, "two": two})
        given = application_set(topology(), "eu-west", settings)
        return {application.name: str(application) for application in given.applications}

    before, after = with_code("a", "b"), with_code("a", "c")
    assert before["one"] == after["one"]
    assert before["two"] != after["two"]


def test_the_document_is_what_serve_expects_and_reads_back() -> None:
    given = application_set(topology(), "eu-west", SETTINGS)
    written = APPLICATION_SET.dump_json(given)
    document = json.loads(written)
    assert document["proxy_location"] == "HeadOnly"
    assert document["http_options"]["host"] == "127.0.0.1"
    assert document["http_options"]["port"] == 20009
    assert document["grpc_options"] == {"port": 20010}
    assert (
        document["applications"][0]["deployments"][0]["autoscaling_config"]["target_ongoing_requests"] == 16
    )
    assert APPLICATION_SET.validate_json(written) == given
