from dataclasses import replace

from tests.unit.serve_documents import importing, status, wanted

from atoll.serve.document import ApplicationSet
from atoll.serve.status import SERVE_STATUS, ApplicationState
from atoll.serve.verdict import Comes, Differs, Fails, Runs, judge, progress


def test_it_runs_when_every_application_does() -> None:
    assert judge(status("running"), wanted()) == Runs()
    assert [str(line) for line in progress(status("running"), wanted())] == [
        "one 1/1 running",
        "two 2/2 running",
    ]


def test_it_does_not_run_while_replicas_start() -> None:
    assert isinstance(judge(status("starting"), wanted()), Comes)
    assert [str(line) for line in progress(status("starting"), wanted())] == [
        "one 0/1 deploying",
        "two 0/2 deploying",
    ]


def test_a_serve_that_is_not_there_runs_something_else() -> None:
    assert judge(status("no-serve"), wanted()) == Differs()
    assert judge(status("no-serve"), replace(wanted(), applications=())) == Differs()


def test_any_other_option_argument_or_application_differs() -> None:
    given = wanted()
    one, two = given.applications
    (options,) = one.deployments
    others = [
        replace(given, applications=(one,)),
        replace(given, applications=(one, replace(two, args={}))),
        replace(
            given, applications=(replace(one, deployments=(replace(options, max_ongoing_requests=1),)), two)
        ),
        replace(given, applications=(one, two, replace(one, name="three", route_prefix="/three"))),
        importing(given, "one", "shop:other"),
    ]
    assert [judge(status("running"), other) for other in others] == [Differs()] * len(others)


def test_a_replica_that_fails_to_start_shows_its_own_traceback() -> None:
    verdict = judge(status("startup-failed"), importing(wanted(), "one", "shop:broken"))
    assert isinstance(verdict, Fails)
    (failure,) = verdict.failures
    assert failure.application == "one"
    text = str(failure)
    assert 'raise RuntimeError("the shop has no cities")' in text
    assert text.splitlines()[-2].strip() == "RuntimeError: the shop has no cities"
    assert "log: /serve/replica_one_ingress_" in text.splitlines()[-1]
    assert "\x1b" not in failure.error


def broken_builds() -> ApplicationSet:
    given = importing(wanted(), "one", "shop:nothing")
    one, two = given.applications
    (options,) = two.deployments
    return replace(given, applications=(one, replace(two, deployments=(replace(options, name="Other"),))))


def test_an_application_that_cannot_be_built_says_why() -> None:
    verdict = judge(status("build-failed"), broken_builds())
    assert isinstance(verdict, Fails)
    one, two = verdict.failures
    assert str(one).endswith("AttributeError: module 'shop' has no attribute 'nothing'")
    assert "Deployment 'Other' does not exist. Available: ['ingress']" in str(two)


def test_a_service_without_the_agreed_name_is_told_it() -> None:
    text = status("build-failed").applications["two"].message.replace("'Other'", "'ingress'")
    given = broken_builds()
    found = status("build-failed")
    renamed = replace(
        found, applications={**found.applications, "two": replace(found.applications["two"], message=text)}
    )
    verdict = judge(renamed, given)
    assert isinstance(verdict, Fails)
    assert '@serve.deployment(name="ingress")' in str(verdict.failures[1])


def test_replicas_that_do_not_fit_are_a_trouble_and_no_failure() -> None:
    given = wanted()
    one, two = given.applications
    (options,) = one.deployments
    many = replace(
        options, autoscaling_config=replace(options.autoscaling_config, min_replicas=12, max_replicas=12)
    )
    verdict = judge(
        status("unschedulable"), replace(given, applications=(replace(one, deployments=(many,)), two))
    )
    assert isinstance(verdict, Comes)
    assert any("taken more than 30s to be scheduled" in trouble.error for trouble in verdict.troubles)


def test_a_lost_replica_is_no_failed_deployment() -> None:
    assert isinstance(judge(status("replica-lost"), wanted()), Comes)


def test_words_of_a_newer_serve_are_unknown_and_not_an_error() -> None:
    newer = b'{"applications": {"x": {"name": "x", "status": "PONDERING", "message": "", "deployments": {}, "new": 1}}}'
    assert SERVE_STATUS.validate_json(newer).applications["x"].status is ApplicationState.UNKNOWN
