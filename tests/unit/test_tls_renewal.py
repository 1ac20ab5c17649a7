import logging
import time
from pathlib import Path

import pytest
from tests.tls_files import DAY_S, DOMAIN, Signer, files_in, write_tls

from atoll.clock import ManualClock
from atoll.tls import CellTls, Role, TlsError
from atoll.topology.wiring import write_private

SIGNER = Signer.new()


def cell_tls(folder: Path, clock: ManualClock, lasting_s: float = 90 * DAY_S) -> CellTls:
    files = write_tls(folder, SIGNER.issue("eu-west", lasting_s), SIGNER.certificate)
    return CellTls(files, Role.AGENT, "eu-west", clock)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(epoch=time.time())


@pytest.fixture
def tls(tmp_path: Path, clock: ManualClock) -> CellTls:
    return cell_tls(tmp_path, clock)


def contexts(tls: CellTls) -> tuple[object, object]:
    """Those that the next connections are made with."""
    return tls.calling(Role.AGENT, "us-east").toward().context, tls.serving(tuple).context()


def test_names_follow_from_role_and_region(tls: CellTls) -> None:
    assert tls.calling(Role.AGENT, "us-east").toward().name == "agent.us-east.atoll.test"
    assert tls.calling(Role.GATEWAYS, "us-east").toward().name == "gateways.us-east.atoll.test"


def test_renewed_files_are_taken_up_once_they_stand_still(tls: CellTls, tmp_path: Path) -> None:
    serving = tls.serving(tuple)
    calling = tls.calling(Role.AGENT, "us-east")
    before = contexts(tls)
    tls.poll()
    assert contexts(tls) == before
    write_tls(tmp_path, SIGNER.issue("eu-west"), SIGNER.certificate)
    tls.poll()
    assert contexts(tls) == before, "they may be half replaced"
    tls.poll()
    after = contexts(tls)
    assert after[0] is not before[0] and after[1] is not before[1]
    assert (calling.toward().context, serving.context()) == after, "who has been told before gets them too"
    tls.poll()
    assert contexts(tls) == after
    assert (tls.statistics().taken, tls.statistics().refused) == (1, 0)


def test_a_bad_file_keeps_the_old_ones_and_says_why(
    tls: CellTls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = contexts(tls)
    write_private(files_in(tmp_path).cert, b"no certificate")
    for _ in range(5):
        tls.poll()
    assert contexts(tls) == before
    statistics = tls.statistics()
    assert (statistics.taken, statistics.refused) == (0, 1)
    assert statistics.error is not None and "no certificate and its key" in statistics.error
    (record,) = caplog.records
    assert "refused" in record.message and "cert.pem" in record.__dict__["reason"]
    write_tls(tmp_path, SIGNER.issue("eu-west"), SIGNER.certificate)
    tls.poll()
    tls.poll()
    assert contexts(tls) != before
    assert tls.statistics().error is None


def test_an_ended_certificate_does_not_take_the_place_of_one_that_holds(tls: CellTls, tmp_path: Path) -> None:
    before = contexts(tls)
    write_tls(tmp_path, SIGNER.expired("eu-west"), SIGNER.certificate)
    tls.poll()
    tls.poll()
    assert contexts(tls) == before
    assert "has expired" in (tls.statistics().error or "")


def test_files_that_are_gone_for_a_moment_change_nothing(tls: CellTls, tmp_path: Path) -> None:
    before = contexts(tls)
    files = files_in(tmp_path)
    key = files.key.rename(tmp_path / "elsewhere")
    tls.poll()
    key.rename(files.key)
    tls.poll()
    tls.poll()
    assert contexts(tls) == before
    assert tls.statistics().refused == 0


def test_the_end_is_told_once_a_day_below_14_days(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    tls = cell_tls(tmp_path, clock, 17 * DAY_S)
    assert round(tls.statistics().days_left) == 17
    for _ in range(18 * 24):
        clock.advance(3600.0)
        tls.poll()
    levels = [record.levelno for record in caplog.records]
    assert levels.count(logging.WARNING) == 14
    assert levels.count(logging.ERROR) in {1, 2}
    assert "ends soon" in caplog.records[0].message
    assert caplog.records[0].__dict__["days_left"] == pytest.approx(14.0, abs=0.1)
    assert "has ended" in caplog.records[-1].message


def test_a_certificate_that_has_ended_does_not_keep_its_region_from_starting(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    write_tls(tmp_path, SIGNER.expired("eu-west"), SIGNER.certificate)
    tls = CellTls(files_in(tmp_path), Role.AGENT, "eu-west", clock)
    assert tls.statistics().days_left < 0
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    write_tls(tmp_path, SIGNER.issue("eu-west"), SIGNER.certificate)
    tls.poll()
    tls.poll()
    assert tls.statistics().days_left > 0


def test_files_that_are_not_there_do(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(TlsError, match="can't be read"):
        CellTls(files_in(tmp_path, DOMAIN), Role.AGENT, "eu-west", clock)
