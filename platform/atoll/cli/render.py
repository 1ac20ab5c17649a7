"""The documents as tables for people."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from atoll.cell.state_report import StateReport
from atoll.cell.status import ProcessState, ProcessStatus, RegionState, RegionStatus, RunStatus
from atoll.cli.output import mebibytes, table
from atoll.cli.render_state import lag
from atoll.routing.explain import DecisionDocument, ExplainDocument, PlaceDocument
from atoll.tls.renewal import WARN_DAYS

_STATE_STYLE = {
    RegionState.READY: "green",
    RegionState.STARTING: "yellow",
    RegionState.DEGRADED: "yellow",
    RegionState.DRAINING: "yellow",
    ProcessState.RUNNING: "green",
    ProcessState.STARTING: "yellow",
    ProcessState.RESTARTING: "yellow",
    ProcessState.STOPPED: "dim",
}
_WRONG_STYLE = "bold red"


def print_summary(console: Console, status: RunStatus) -> None:
    """What `atoll up` ends with: where everything is, and what it takes."""
    _print(console, _headline(status), _regions(status))


def print_status(console: Console, status: RunStatus) -> None:
    """All of `atoll status`."""
    parts: list[RenderableType] = [_headline(status), _regions(status), _services(status)]
    parts += [_health(status), _state(status), _processes(status)]
    if any(region.certificates for region in status.regions.values()):
        parts.append(_certificates(status))
    if status.faults:
        parts.append(_faults(status))
    _print(console, *parts)
    for line in _remarks(status):
        console.print(line)


def print_explanation(console: Console, document: ExplainDocument) -> None:
    """Both decisions about one request."""
    zones = ", ".join(document.residency.zones) or "no zone at all"
    because = "; ".join(
        f"{restriction.source}: {', '.join(restriction.zones) or 'none'}"
        for restriction in document.residency.restrictions
    )
    console.print(f"client    {document.client}, {_place(document.place)}")
    console.print(f"service   {document.service}, may be executed in {zones} ({because})")
    console.print(
        f"asked     {document.gateway}, topology {document.topology.name} revision {document.topology.revision}"
    )
    console.print()
    console.print("Steering: which gateway this client should talk to")
    _print(console, _decision(document.steering))
    console.print(f"Routing: which region serves its request, seen from {document.routed_from}")
    _print(console, _decision(document.routing))


def _print(console: Console, *parts: RenderableType) -> None:
    for part in parts:
        console.print(part)
        console.print()


def _headline(status: RunStatus) -> Text:
    text = Text(f"{status.topology} revision {status.topology_revision}, entry at ")
    text.append(status.entry_url, style="bold")
    text.append(f", {mebibytes(status.memory_bytes)} in all")
    return text


def _regions(status: RunStatus) -> Table:
    rows = table("Region", "Place", "Zone", "State", "Gateways", "Ray dashboard", "Memory", right=("Memory",))
    for name, region in status.regions.items():
        rows.add_row(
            name,
            region.title,
            region.zone,
            _region_state(region),
            "\n".join(gateway.public_url for gateway in region.gateways),
            region.dashboard_url,
            mebibytes(region.memory_bytes),
        )
    return rows


def _region_state(region: RegionStatus) -> Text:
    text = Text(region.state.value, style=_STATE_STYLE.get(region.state, _WRONG_STYLE))
    if region.detail:
        text.append(f" ({region.detail})", style="not bold default")
    return text


def _services(status: RunStatus) -> Table:
    """A row a service: replicas that run and are wanted, requests in flight and the most there may be."""
    rows = table("Service", *status.regions)
    names = dict.fromkeys(name for region in status.regions.values() for name in region.replicas)
    for name in names:
        rows.add_row(name, *(_load(region, name) for region in status.regions.values()))
    return rows


def _load(region: RegionStatus, service: str) -> str:
    replicas = region.replicas.get(service)
    if replicas is None:
        return "-"
    in_flight, capacity = region.in_flight.get(service, 0), region.capacity.get(service, 0)
    raises = () if region.ahead is None else region.ahead.raises
    ahead = max((one.replicas for one in raises if one.service == service), default=0)
    kept = f", {ahead} kept for a lost region's load" if ahead else ""
    return f"{replicas.running} of {replicas.target} up, {in_flight} of {capacity} busy{kept}"


def _health(status: RunStatus) -> Table:
    """A row a region: how every gateway outside sees it."""
    observers = list(dict.fromkeys(name for region in status.regions.values() for name in region.health))
    rows = table("Health of", *(f"seen by {name}" for name in observers))
    for name, region in status.regions.items():
        rows.add_row(name, *(_view(region.health.get(observer, "")) for observer in observers))
    return rows


def _view(health: str) -> Text:
    return Text(health or "-", style="" if not health or health.startswith("healthy") else _WRONG_STYLE)


def _state(status: RunStatus) -> Table:
    """A row a region: how its state stands; `atoll state lag` says it of every two regions."""
    rows = table(
        "State of",
        "Worst lag",
        "Conflicts",
        "Log",
        "Tombstones",
        "Differences",
        "Resyncs",
        "Session waits",
        "Ballots a commit",
    )
    for name, region in status.regions.items():
        report = region.state_report
        if report is None:
            rows.add_row(name, Text("no answer", _WRONG_STYLE), *["-"] * 7)
            continue
        ballots = report.strong.ballots_per_commit
        rows.add_row(
            name,
            _worst_lag(report),
            str(sum(report.conflicts.values())),
            f"{report.log_entries:,} entries, {mebibytes(report.log_bytes)}",
            f"{report.tombstones:,}",
            str(report.digest_mismatches),
            f"{sum(report.resyncs.values())}, {report.resyncs_failed} broken off",
            f"{report.session_waits:,}, {report.session_waits_behind:,} in vain",
            "-" if ballots is None else f"{ballots:.2f}",
        )
    return rows


def _worst_lag(report: StateReport) -> Text:
    """To whom this region is furthest behind; that of which nothing is known is worst."""
    if report.writes_refused:
        return Text(f"writes are refused: {report.writes_refused}", _WRONG_STYLE)
    if not report.peers:
        return Text("-")
    unknown = float("inf")
    origin, peer = max(
        report.peers.items(), key=lambda of: unknown if of[1].staleness_s is None else of[1].staleness_s
    )
    return Text(f"{origin}: {lag(peer)}", "" if peer.connected else _WRONG_STYLE)


def _certificates(status: RunStatus) -> Table:
    """A row a process that shows other cells one."""
    rows = table("Certificate of", "Days left", "Why", right=("Days left",))
    for region in status.regions.values():
        for name, certificate in region.certificates.items():
            style = _WRONG_STYLE if certificate.days_left < WARN_DAYS else ""
            wrong = Text(
                f"the new one is refused: {certificate.error}" if certificate.error else "", _WRONG_STYLE
            )
            rows.add_row(name, Text(f"{certificate.days_left:.1f}", style), wrong)
    return rows


def _processes(status: RunStatus) -> Table:
    rows = table("Process", "State", "PID", "Restarts", "Memory", right=("PID", "Restarts", "Memory"))
    for process in status.processes:
        rows.add_row(*_process(process.name, process))
    for name, region in status.regions.items():
        for process in region.processes:
            rows.add_row(*_process(f"{name}/{process.name}", process))
    return rows


def _process(label: str, process: ProcessStatus) -> tuple[RenderableType, ...]:
    return (
        label,
        Text(process.state.value, style=_STATE_STYLE.get(process.state, _WRONG_STYLE)),
        "-" if process.pid is None else str(process.pid),
        str(process.restarts),
        mebibytes(process.memory_bytes),
    )


def _faults(status: RunStatus) -> Table:
    rows = table("Fault", "Target", "Why")
    for fault in status.faults:
        rows.add_row(fault.kind, fault.target, fault.detail)
    return rows


def _remarks(status: RunStatus) -> Iterator[Text]:
    """What an operator should notice."""
    errors = {
        gateway.topology_error
        for region in status.regions.values()
        for gateway in region.gateways
        if gateway.topology_error
    }
    for error in sorted(errors):
        yield Text(
            f"The topology file as it is now is refused, the old one stays in force: {error}", _WRONG_STYLE
        )
    if status.faults:
        yield Text("Faults are in force; `atoll fault heal` ends them all.")


def _place(place: PlaceDocument) -> str:
    if place.stands_in is not None:
        known = "" if place.country is None else f"in {place.country}, "
        return f"{known}place not known ({place.source}): counts as standing in {place.stands_in}"
    where = "" if place.country is None else f"{place.country} "
    return f"{where}at {place.latitude:.2f}, {place.longitude:.2f} ({place.source})"


def _decision(decision: DecisionDocument) -> Table:
    rows = table(
        "", "Region", "Zone", "Ring", "Round trip", "Score", "Why", right=("Ring", "Round trip", "Score")
    )
    for candidate in decision.candidates:
        rows.add_row(
            "->" if candidate.region == decision.chosen else "",
            candidate.region,
            candidate.zone,
            "-" if candidate.ring is None else str(candidate.ring),
            f"{candidate.rtt_ms:.1f} ms",
            f"{candidate.score:.1f}",
            candidate.reason,
            style="" if candidate.eligible else "dim",
        )
    rows.caption_justify = "left"
    if decision.panic:
        rows.caption = "No region is known to be able to serve, so all that may be tried are."
    if decision.chosen is None:
        rows.caption = "No region may serve it: the client gets an answer that says so."
    return rows
