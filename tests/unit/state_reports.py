"""Figures and documents of the state, for tests of what operators are shown."""

from pydantic import TypeAdapter

from atoll.agent.inspection import (
    CellsAnswer,
    CellView,
    Comparison,
    ConflictsAnswer,
    ConflictView,
    KeyKind,
    KeyView,
)
from atoll.cell.state_report import PeerLag, StateReport, StrongReport
from atoll.cli import state_documents
from atoll.cli.state_documents import (
    ConflictsDocument,
    GetDocument,
    KeyPlaces,
    KeysDocument,
    LagDocument,
    RepairDocument,
    VerifyDocument,
)


def state_report() -> StateReport:
    return StateReport(
        complete=True,
        peers={
            "us-east": PeerLag(connected=True, staleness_s=0.4, p50_s=0.04, p99_s=0.21, behind=7),
            "eu-central": PeerLag(connected=False, staleness_s=93.0, p50_s=0.02, p99_s=None, behind=0),
        },
        conflicts={"carts": 3, "views": 2},
        log_entries=1200,
        log_bytes=5 << 20,
        tombstones=17,
        digest_mismatches=1,
        resyncs={"gap": 2, "differs": 1},
        resyncs_failed=4,
        clock_offset_s=-0.003,
        writes_refused="",
        skewed=0,
        session_waits=40,
        session_waits_behind=6,
        session_waited_s=2.5,
        strong=StrongReport(
            changes=30,
            reads=4,
            commits=20,
            warm_commits=18,
            ballots=25,
            ballots_per_commit=1.25,
            no_majority=2,
        ),
    )


def cell(value: str | None, *, field: str = "", seq: int = 4, kind: KeyKind = KeyKind.MAP) -> CellView:
    return CellView(
        kind=kind,
        field=field,
        stamp="0198f1a2b3c40000",
        actor="eu-west.1700000000",
        seq=seq,
        removed=value is None,
        expiry_ms=None,
        value=value,
        size=len(value or ""),
        digest=f"{hash(value) & 0xFFFFFFFFFFFF:012x}",
    )


def get_document() -> GetDocument:
    here = CellsAnswer((cell("j1", field="a"), cell("j2", field="b", seq=5)), 0)
    there = CellsAnswer((cell("j1", field="a"), cell(None, field="b", seq=4)), 0)
    return GetDocument("carts", "mine", {"eu-west": here, "us-east": there}, ("map b",), {"mars": "frozen"})


def keys_document() -> KeysDocument:
    places = KeyPlaces(KeyView("mine", KeyKind.MAP), ("eu-west",))
    return KeysDocument("carts", (places,), True, ("eu-west", "us-east"), {})


def conflicts_document() -> ConflictsDocument:
    found = ConflictView(
        "carts",
        KeyKind.MAP,
        "mine",
        "sku",
        "eu-west.1:9",
        "0198f1a2b3c40000",
        "us-east.1:3",
        "0198f1a2b3c30000",
    )
    return ConflictsDocument({"eu-west": ConflictsAnswer((found,), {"carts": 3})}, {})


def lag_document() -> LagDocument:
    return LagDocument({"eu-west": state_report().peers}, {"us-east": "it is killed"})


def verify_document(equal: bool | None = False) -> VerifyDocument:
    compared = (
        Comparison("carts", "eu-west", "us-east", 2),
        Comparison("carts", "eu-west", "eu-central", None, "there is no link"),
    )
    return VerifyDocument(equal, compared, {})


def repair_document() -> RepairDocument:
    compared = (Comparison("carts", "eu-west", "us-east", 0),)
    return RepairDocument("carts", {"eu-west": (), "us-east": ("eu-west",)}, True, compared, {})


def state_documents_written() -> dict[str, bytes]:
    """As `--json` prints them, by schema."""

    def written(form: TypeAdapter[object], document: object) -> bytes:
        return form.dump_json(document)

    forms = state_documents.STATE_DOCUMENTS
    return {
        "atoll.state-get/1": written(forms["atoll.state-get/1"], get_document()),
        "atoll.state-keys/1": written(forms["atoll.state-keys/1"], keys_document()),
        "atoll.state-conflicts/1": written(forms["atoll.state-conflicts/1"], conflicts_document()),
        "atoll.state-lag/1": written(forms["atoll.state-lag/1"], lag_document()),
        "atoll.state-verify/1": written(forms["atoll.state-verify/1"], verify_document()),
        "atoll.state-repair/1": written(forms["atoll.state-repair/1"], repair_document()),
    }
