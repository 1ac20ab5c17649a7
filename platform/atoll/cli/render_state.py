"""What `atoll state` found, as tables for people."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from atoll.agent.inspection import CellView, Comparison
from atoll.cell.state_report import PeerLag
from atoll.cli.output import table
from atoll.cli.state_documents import (
    ConflictsDocument,
    GetDocument,
    KeysDocument,
    LagDocument,
    RepairDocument,
    VerifyDocument,
)


def print_get(console: Console, document: GetDocument) -> None:
    """A row for each cell that the regions don't have alike, and one for each that they do."""
    rows = table("Kind", "Field", "Regions", "Stamp", "Actor", "Seq", "Value", right=("Seq",))
    where: dict[CellView, list[str]] = {}
    for region, answer in document.regions.items():
        for cell in answer.cells:
            where.setdefault(cell, []).append(region)
    for cell, regions in sorted(where.items(), key=lambda found: (found[0].kind, found[0].field)):
        everywhere = len(regions) > 1 and len(regions) == len(document.regions)
        rows.add_row(
            cell.kind,
            cell.field or "-",
            "all" if everywhere else ", ".join(regions),
            cell.stamp or "-",
            cell.actor or "-",
            str(cell.seq),
            _value(cell),
        )
    if where:
        console.print(rows)
        console.print()
    empty = [region for region, answer in document.regions.items() if not answer.cells]
    if empty:
        console.print(f"Nothing under {document.key!r} in {document.namespace}: {', '.join(empty)}.")
    for region, answer in document.regions.items():
        if answer.more:
            console.print(f"{region} has {answer.more} more cells, which are left out.")
    if document.differing:
        console.print(f"The regions differ in: {', '.join(document.differing)}. What is on its way is not")
        console.print(f"everywhere yet; `atoll state verify {document.namespace}` waits for it.")
    elif where and len(document.regions) > 1:
        console.print(f"Alike in {', '.join(document.regions)}.")
    _silent(console, document.silent)


def print_keys(console: Console, document: KeysDocument) -> None:
    """A row a key."""
    rows = table("Kind", "Key", "Missing in")
    for place in document.keys:
        missing = [region for region in document.regions if region not in place.regions]
        rows.add_row(place.at.kind, place.at.key, ", ".join(missing) or "-")
    if document.keys:
        console.print(rows)
        console.print()
    else:
        console.print(f"{', '.join(document.regions)}: no such key in {document.namespace}.")
    if document.more:
        console.print("There are more; raise --limit or narrow --prefix.")
    _silent(console, document.silent)


def print_conflicts(console: Console, document: ConflictsDocument) -> None:
    """A row a conflict and region."""
    columns = ("Region", "Namespace", "Kind", "Key", "Field", "Winner", "Its stamp", "Loser", "Its stamp")
    rows = table(*columns)
    for region, answer in document.regions.items():
        for found in answer.conflicts:
            rows.add_row(
                region,
                found.namespace,
                found.kind,
                found.key,
                found.field or "-",
                found.winner,
                found.winner_stamp,
                found.loser,
                found.loser_stamp,
            )
    if rows.row_count:
        console.print(rows)
        console.print()
    for region, answer in document.regions.items():
        counted = ", ".join(f"{count} in {namespace}" for namespace, count in sorted(answer.counted.items()))
        console.print(f"{region} has merged {f'conflicts: {counted}' if counted else 'no conflicts'}.")
    _silent(console, document.silent)


def print_lag(console: Console, document: LagDocument) -> None:
    """A row a region, a column the region that it is behind."""
    origins = list(
        dict.fromkeys([*document.regions, *(peer for peers in document.regions.values() for peer in peers)])
    )
    rows = table("Region", *(f"behind {origin}" for origin in origins))
    for region, peers in document.regions.items():
        rows.add_row(region, *(lag(peers[origin]) if origin in peers else "-" for origin in origins))
    console.print(rows)
    console.print()
    _silent(console, document.silent)


def print_verify(console: Console, document: VerifyDocument) -> None:
    """A row two regions and a namespace."""
    _print_compared(console, document.compared)
    _print_verdict(console, equal=document.equal)
    _silent(console, document.silent)


def print_repair(console: Console, document: RepairDocument) -> None:
    """What was transferred, and how the regions compare now."""
    _print_compared(console, document.compared)
    for region, peers in document.transfers.items():
        taken = f"has taken over what it lacked from {', '.join(peers)}" if peers else "lacked nothing"
        console.print(f"{region} {taken}.")
    _print_verdict(console, equal=document.equal)
    _silent(console, document.silent)


def lag(peer: PeerLag) -> str:
    """``0.4 s, p99 0.2 s``; what is missing besides if something is, and whether the link is down."""
    parts = ["unknown" if peer.staleness_s is None else f"{peer.staleness_s:.1f} s"]
    if peer.p99_s is not None:
        parts.append(f"p99 {peer.p99_s:.2f} s")
    if peer.behind:
        parts.append(f"{peer.behind} operations")
    if not peer.connected:
        parts.append("no link")
    return ", ".join(parts)


def _print_compared(console: Console, compared: Sequence[Comparison]) -> None:
    rows = table("Namespace", "Region", "and", "", "Why")
    for found in compared:
        match found.buckets:
            case None:
                told = "can't be told"
            case 0:
                told = "alike"
            case differing:
                told = f"{differing} of 256 buckets differ"
        rows.add_row(found.namespace, found.region, found.peer, told, found.reason)
    console.print(rows)
    console.print()


def _print_verdict(console: Console, *, equal: bool | None) -> None:
    match equal:
        case True:
            console.print("All that hold the same namespaces are alike.")
        case False:
            console.print(
                "Regions differ. Agents mend that within minutes; `atoll state repair` does it now."
            )
        case None:
            console.print(
                "It could not be told of all. Try again with a longer --timeout, or see `atoll state lag`."
            )


def _value(cell: CellView) -> str:
    if cell.value is None:
        return "(removed)"
    text = cell.value if cell.value.isprintable() else repr(cell.value)
    left_out = cell.size - len(cell.value.encode())
    return f"{text} ... ({cell.size} bytes)" if left_out > 0 else text


def _silent(console: Console, silent: Mapping[str, str]) -> None:
    for region, reason in silent.items():
        console.print(f"{region} gave no answer: {reason}", style="bold red")
