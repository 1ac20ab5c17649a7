import io
import json
from dataclasses import replace

import jsonschema
import pytest
from rich.console import Console
from tests.unit import drill_records
from tests.unit.deployments import deployed
from tests.unit.state_reports import state_documents_written, state_report

from atoll.cell.progress import Progress, StepState
from atoll.cell.status import (
    RUN_STATUS,
    FaultStatus,
    GatewayStatus,
    ProcessState,
    ProcessStatus,
    RegionState,
    RegionStatus,
    ReplicaCount,
    RunStatus,
)
from atoll.cli import documents, output, render
from atoll.cli.progress import LiveProgress, PlainProgress, progress_display
from atoll.clock import ManualClock
from atoll.routing import EXPLAIN, ExplainDocument
from atoll.routing.explain import (
    CandidateDocument,
    DecisionDocument,
    PlaceDocument,
    ResidencyDocument,
    RestrictionDocument,
    TopologyStamp,
)
from atoll.serve.ahead import AheadStatistics, Raise
from atoll.simulate.report import (
    SIMULATION,
    SIMULATIONS,
    ExpectationFigures,
    Phase,
    RegionFigures,
    SeedFailure,
    SimulationDocument,
    SimulationsDocument,
    ViolationFigures,
)
from atoll.tls import TlsStatistics
from loadtests.drills.report import DRILL

MIB = 1024**2


def region_status() -> RegionStatus:
    return RegionStatus(
        title="Ireland",
        zone="eu",
        state=RegionState.READY,
        detail="",
        draining=False,
        dashboard_url="http://127.0.0.1:20600",
        gateways=(
            GatewayStatus(
                "eu-west/gateway-1", "http://127.0.0.1:8082", "http://127.0.0.1:20541", "ab12", None
            ),
        ),
        processes=(ProcessStatus("warden", 41, ProcessState.RUNNING, 2, 30 * MIB),),
        memory_bytes=900 * MIB,
        replicas={"quote": ReplicaCount(1, 2)},
        in_flight={"quote": 3},
        capacity={"quote": 64},
        health={"us-east/gateway-1": "healthy", "entry": "unhealthy: silent for 1.6 s"},
        state_report=state_report(),
    )


@pytest.fixture
def status() -> RunStatus:
    return RunStatus(
        run="0123456789ab/7",
        started_at="2026-08-01T12:00:00Z",
        supervisor_pid=40,
        topology="local",
        topology_file="infra/topologies/local.toml",
        topology_revision=3,
        topology_digest="ab12",
        entry_url="http://127.0.0.1:8080",
        entry_admin_url="http://127.0.0.1:20099",
        processes=(ProcessStatus("entry", None, ProcessState.KILLED, 0, 0),),
        memory_bytes=1234 * MIB,
        regions={"eu-west": region_status()},
        faults=(),
    )


@pytest.fixture
def explanation() -> ExplainDocument:
    decision = DecisionDocument(
        chosen="eu-west",
        panic=False,
        candidates=(
            CandidateDocument("eu-west", "eu", True, 0, 12.3, 12.3, "ring 0, 12.3 ms"),
            CandidateDocument("us-east", "us", False, None, 74.0, 74.0, "zone us is not allowed, only eu"),
        ),
    )
    return ExplainDocument(
        client="192.0.2.7",
        service="quote-eu",
        gateway="entry",
        routed_from="eu-west",
        place=PlaceDocument("IE", 53.35, -6.26, "geoip-country", None),
        residency=ResidencyDocument(("eu",), (RestrictionDocument("service quote-eu", ("eu",)),)),
        steering=decision,
        routing=decision,
        topology=TopologyStamp("local", 3, "ab12"),
    )


@pytest.fixture
def screen() -> Console:
    return output.console(io.StringIO())


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_summary_has_regions_addresses_dashboards_and_memory(screen: Console, status: RunStatus) -> None:
    render.print_summary(screen, status)
    text = text_of(screen)
    row = next(line for line in text.splitlines() if line.startswith("eu-west"))
    for part in ("Ireland", "ready", "http://127.0.0.1:8082", "http://127.0.0.1:20600", "900 MiB"):
        assert part in row
    assert "http://127.0.0.1:8080" in text
    assert "1,234 MiB" in text


def test_replicas_that_are_kept_ahead_of_a_lost_regions_load_are_told(
    screen: Console, status: RunStatus
) -> None:
    ahead = AheadStatistics((Raise("quote", 4, frozenset({"us-east"}), 3.0, 20.0),), 1)
    regions = {name: replace(region, ahead=ahead) for name, region in status.regions.items()}
    render.print_status(screen, replace(status, regions=regions))
    assert "4 kept" in text_of(screen)


def test_status_has_processes_replicas_load_and_health(screen: Console, status: RunStatus) -> None:
    render.print_status(screen, status)
    text = text_of(screen)
    assert "1 of 2 up, 3 of 64 busy" in text
    assert "unhealthy: silent for 1.6 s" in text
    assert "seen by us-east/gateway-1" in text
    warden = next(line for line in text.splitlines() if line.startswith("eu-west/warden"))
    assert warden.split() == ["eu-west/warden", "running", "41", "2", "30", "MiB"]
    entry = next(line for line in text.splitlines() if line.startswith("entry "))
    assert entry.split() == ["entry", "killed", "-", "0", "0", "MiB"]
    assert "fault" not in text


def test_status_says_when_certificates_end_and_why_a_new_one_is_refused(
    screen: Console, status: RunStatus
) -> None:
    render.print_status(screen, status)
    assert "Certificate of" not in text_of(screen)
    one = TlsStatistics(("agent.eu-west.atoll.internal",), 1_800_000_000.0, 12.34, 0, 1, "it has expired")
    certificates = {"eu-west/agent": one, "eu-west/gateway-1": replace(one, days_left=80.0, error=None)}
    regions = {"eu-west": replace(status.regions["eu-west"], certificates=certificates)}
    render.print_status(screen, replace(status, regions=regions))
    text = text_of(screen)
    assert "eu-west/agent" in text and "12.3" in text and "the new one is refused: it has expired" in text
    assert "eu-west/gateway-1" in text and "80.0" in text


def test_status_has_a_line_on_each_region_s_state(screen: Console, status: RunStatus) -> None:
    down = replace(region_status(), state_report=None)
    skewed = replace(
        region_status(), state_report=replace(state_report(), writes_refused="this clock is 300 ms behind")
    )
    regions = {"eu-west": region_status(), "us-east": down, "eu-central": skewed}
    render.print_status(screen, replace(status, regions=regions))
    lines = text_of(screen).partition("State of")[2].partition("Process")[0].splitlines()
    told = {line.split()[0]: line for line in lines[2:] if line}
    for part in ("eu-central: 93.0 s, no link", "1,200 entries, 5 MiB", " 5 ", "3, 4 broken off", "1.25"):
        assert part in told["eu-west"]
    assert "no answer" in told["us-east"]
    assert "writes are refused: this clock is 300 ms behind" in told["eu-central"]


def test_status_tells_of_faults_refused_topologies_and_what_is_waited_for(
    screen: Console, status: RunStatus
) -> None:
    region = region_status()
    refused = replace(region.gateways[0], topology_error="revision 2 is older than 3")
    waiting = replace(region, state=RegionState.DEGRADED, detail="ray restarts in 2 s", gateways=(refused,))
    status = replace(
        status, regions={"eu-west": waiting}, faults=(FaultStatus("cut", "eu-west <-> us-east", "both ways"),)
    )
    render.print_status(screen, status)
    text = text_of(screen)
    assert "degraded (ray restarts in 2 s)" in text
    assert "revision 2 is older than 3" in text
    assert "eu-west <-> us-east" in text
    assert "atoll fault heal" in text


def test_explanation_has_both_decisions_with_every_region(
    screen: Console, explanation: ExplainDocument
) -> None:
    render.print_explanation(screen, explanation)
    text = text_of(screen)
    assert "192.0.2.7, IE at 53.35, -6.26 (geoip-country)" in text
    assert "may be executed in eu (service quote-eu: eu)" in text
    assert text.count("zone us is not allowed, only eu") == 2
    assert text.count("-> ") == 2


def test_explanation_of_an_unknown_place_and_of_nowhere(
    screen: Console, explanation: ExplainDocument
) -> None:
    nowhere = DecisionDocument(None, panic=False, candidates=explanation.routing.candidates[1:])
    render.print_explanation(
        screen,
        replace(
            explanation,
            place=PlaceDocument(None, None, None, "private", "us-east"),
            residency=ResidencyDocument((), ()),
            routing=nowhere,
        ),
    )
    text = text_of(screen)
    assert "place not known (private): counts as standing in us-east" in text
    assert "no zone at all" in text
    assert "No region may serve it" in text


def test_text_is_never_taken_for_markup(screen: Console, status: RunStatus) -> None:
    odd = replace(region_status(), title="[bold]Odd[/bold] :smile:")
    render.print_summary(screen, replace(status, regions={"eu-west": odd}))
    assert "[bold]Odd[/bold] :smile:" in text_of(screen)


def simulation_document() -> SimulationDocument:
    figures = RegionFigures("eu-west", 2, 1, 1.0, {"shed": 1}, 1, 0.1, None)
    return SimulationDocument(
        scenario="loss",
        title="A region is lost",
        seed=0,
        digest="0" * 64,
        duration_s=1.0,
        passed=False,
        requests=2,
        answered=1,
        errors={"shed": 1},
        attempts=1,
        amplification=0.5,
        phases=(Phase("before", 0.0, 1.0, 2, 1, 0.5, (figures,)),),
        traffic={"eu-west": (1,)},
        expectations=(ExpectationFigures("answered", "at least 1", 0.5, held=False),),
        violations=(ViolationFigures("no avoidable error", 0.5, "request 1"),),
    )


def simulations_document() -> SimulationsDocument:
    failure = SeedFailure(7, simulation_document().violations)
    return SimulationsDocument(0, 8, False, 9, {"answered": 9}, 9, {"region-loss": 8}, 0.1, (failure,))


@pytest.mark.parametrize("name", documents.DOCUMENTS)
def test_schemas_are_up_to_date(name: str) -> None:
    assert documents.schema_file(name).read_text(encoding="utf-8") == documents.schema_text(name), (
        "write them anew: make schemas"
    )


def test_there_is_no_schema_of_nothing() -> None:
    assert set(documents.FOLDER.glob("*.json")) == {
        documents.schema_file(name) for name in documents.DOCUMENTS
    }


def test_documents_are_what_their_schemas_say(status: RunStatus, explanation: ExplainDocument) -> None:
    written = {
        "atoll.deployment/1": json.dumps(deployed("eu-west")).encode(),
        "atoll.status/1": RUN_STATUS.dump_json(status),
        "atoll.explain/1": EXPLAIN.dump_json(explanation),
        "atoll.drill/1": DRILL.dump_json(drill_records.report()),
        "atoll.simulation/1": SIMULATION.dump_json(simulation_document()),
        "atoll.simulations/1": SIMULATIONS.dump_json(simulations_document()),
        **state_documents_written(),
    }
    assert written.keys() == documents.DOCUMENTS.keys()
    for name, body in written.items():
        document = json.loads(body)
        schema = json.loads(documents.schema_text(name))
        validator = jsonschema.Draft202012Validator(schema)
        validator.check_schema(schema)
        validator.validate(document)
        assert document["schema"] == name
        for broken in (document | {"schema": "atoll.other/1"}, document | {"more": 1}):
            with pytest.raises(jsonschema.ValidationError):
                validator.validate(broken)
        for key in document:
            with pytest.raises(jsonschema.ValidationError):
                validator.validate({other: value for other, value in document.items() if other != key})


def test_plain_progress_says_everything_once(screen: Console) -> None:
    clock = ManualClock()
    report = PlainProgress(screen, clock)
    report(Progress("eu-west", "ray", StepState.WAITING, 0.0))
    clock.advance(1.5)
    report(Progress("eu-west", "ray", StepState.WAITING, 1.5))
    clock.advance(1.5)
    report(Progress("eu-west", "ray", StepState.FAILED, 3.0, "port 20500 is taken"))
    report(Progress("eu-west", "ray", StepState.WAITING, 0.0))
    clock.advance(10)
    report(Progress("eu-west", "ray", StepState.DONE, 13.0))
    report(Progress(None, "links", StepState.DONE, 0.2))
    lines = [line.split(maxsplit=2)[2] for line in text_of(screen).splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        "eu-west ray: waiting",
        "eu-west ray: failed after 3.0 s: port 20500 is taken",
        "eu-west ray: waiting",
        "eu-west ray: done in 13.0 s",
        "run links: done in 0.2 s",
    ]
    assert text_of(screen).startswith("   0.0 s  eu-west")


def test_live_progress_says_what_each_region_waits_for(screen: Console) -> None:
    clock = ManualClock()
    display = LiveProgress(("us-east", "eu-west", "ap-northeast"), clock)
    display(Progress("us-east", "stores", StepState.DONE, 0.4))
    display(Progress("us-east", "ray", StepState.WAITING, 2.0, "the head starts"))
    display(Progress("eu-west", "gateways", StepState.DONE, 1.0))
    clock.advance(3)
    screen.print(display.render())
    rows = [" ".join(line.split()[1:]) for line in text_of(screen).splitlines()]
    assert rows[:3] == [
        "us-east waiting for ray 5 s (the head starts)",
        "eu-west gateways done",
        "ap-northeast waiting",
    ]
    display(Progress("us-east", "ray", StepState.WAITING, 0.0, "the head is slow"))
    screen.print(display.render())
    assert "waiting for ray 5 s (the head is slow)" in text_of(screen)
    display(Progress("us-east", "ray", StepState.FAILED, 5.0, "no memory"))
    screen.print(display.render())
    assert "ray failed after 5.0 s: no memory" in text_of(screen)


def test_a_terminal_gets_the_live_display_and_a_file_gets_lines() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress_display(terminal, ("eu-west",)) as report:
        report(Progress("eu-west", "ray", StepState.DONE, 1.0))
    assert "\x1b[" in text_of(terminal)
    assert "ray done" in text_of(terminal)
    plain = output.console(io.StringIO())
    with progress_display(plain, ("eu-west",)) as report:
        report(Progress("eu-west", "ray", StepState.DONE, 1.0))
    assert "\x1b[" not in text_of(plain)
