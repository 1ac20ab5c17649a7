"""From what a region's gateways say to what its Serve is to keep, whatever fails on the way."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from atoll.cell.ahead import FollowedTopology, RaisesAhead, as_seen
from atoll.cell.gateway_view import GatewayView, LoadSeen, RegionSeen, TopologySeen
from atoll.clock import ManualClock
from atoll.serve.client import Unreachable
from atoll.topology import load

FILE = Path(__file__).parents[2] / "infra/topologies/local.toml"
LOCAL = load(FILE)
HERE, OTHER = "us-east", "eu-west"


def region(in_flight: int | None, *, healthy: bool = True, draining: bool = False) -> RegionSeen:
    load_seen = LoadSeen(in_flight or 0, None if in_flight is None else 64)
    return RegionSeen(healthy, "", draining, {"quote": 1}, {"quote": load_seen})


def view(**regions: RegionSeen) -> GatewayView:
    named = {name.replace("_", "-"): seen for name, seen in regions.items()}
    return GatewayView("g", draining=False, topology=TopologySeen("", None), services={}, regions=named)


class Cell:
    """Gateways that say what they are told to, and a Serve that notes what it is to keep."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.says: list[GatewayView | None] = []
        self.kept: list[Mapping[str, int]] = []
        self.trouble: Exception | None = None
        self.raises = RaisesAhead(HERE, self._look, self._raise_to, lambda: LOCAL, self.clock)

    async def _look(self) -> Iterable[GatewayView | None]:
        return self.says

    async def _raise_to(self, minimums: Mapping[str, int]) -> bool:
        if self.trouble is not None:
            raise self.trouble
        self.kept.append(dict(minimums))
        return True

    async def steps(self, count: int, *says: GatewayView | None) -> None:
        self.says = list(says)
        for _ in range(count):
            self.clock.advance(0.5)
            await self.raises.step()


async def test_a_lost_region_is_met_at_once_and_what_fails_is_tried_again() -> None:
    cell = Cell()
    await cell.steps(20, view(us_east=region(10), eu_west=region(30)))
    assert set(map(str, cell.kept)) == {"{}"}
    cell.trouble = Unreachable("http://127.0.0.1:1", "refused")
    await cell.steps(1, view(us_east=region(10), eu_west=region(None, healthy=False)))
    assert len(cell.kept) == 20
    cell.trouble = None
    await cell.steps(1, view(us_east=region(10), eu_west=region(None, healthy=False)))
    assert cell.kept[-1] == {"quote": 3}
    (one,) = cell.raises.statistics().raises
    assert one.lost == {OTHER}


async def test_gateways_that_say_nothing_change_nothing() -> None:
    cell = Cell()
    await cell.steps(20, view(us_east=region(10), eu_west=region(30)), None)
    await cell.steps(20, None, None)
    assert len(cell.kept) == 20
    new = RegionSeen(healthy=False, reason="not heard yet", replicas={"quote": None})
    await cell.steps(4, view(us_east=region(10), eu_west=new))
    assert cell.kept[-1] == {}
    await cell.steps(1, view(us_east=region(10), eu_west=region(None, healthy=False)))
    assert cell.kept[-1] == {"quote": 3}, "what was heard before the gateways were new still counts"


def test_one_gateway_that_trusts_a_region_is_enough() -> None:
    sick, well = region(None, healthy=False), region(12)
    seen = as_seen([view(us_east=well, eu_west=sick), view(us_east=region(14), eu_west=well)])
    assert (seen[OTHER].trusted, seen[OTHER].in_flight) == (True, {"quote": 12})
    assert seen[HERE].in_flight == {"quote": 14}
    assert not as_seen([view(eu_west=sick)])[OTHER].trusted
    assert not as_seen([view(eu_west=region(12, draining=True))])[OTHER].trusted


class TestFollowedTopology:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "here.toml"
        path.write_text(FILE.read_text())
        return path

    def test_a_changed_file_is_taken_up(self, file: Path) -> None:
        followed = FollowedTopology(file, None, LOCAL)
        assert followed.poll().autoscaling.ahead
        file.write_text(FILE.read_text() + "\n[autoscaling]\nahead = false\n")
        assert not followed.poll().autoscaling.ahead

    @pytest.mark.parametrize("text", ["nonsense", None])
    def test_what_cannot_be_used_is_passed_over(self, file: Path, text: str | None) -> None:
        followed = FollowedTopology(file, None, LOCAL)
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        assert followed.poll() is LOCAL

    def test_other_regions_are_not_taken_up(self, file: Path) -> None:
        followed = FollowedTopology(file, 2, load(FILE, regions=3))
        assert len(followed.poll().regions) == 3
