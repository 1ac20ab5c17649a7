from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from atoll.cell.facts import RunLock
from atoll.cell.paths import RunPaths
from loadtests.drills import scenario, traffic
from loadtests.drills.record import Way
from loadtests.drills.scenario import Shape, ShapeKind
from loadtests.users.client import Origin
from loadtests.users.options import DEFAULT_TOPOLOGY, PATIENCE_S, OptionsError, add_options, read
from loadtests.users.visit import ON_ITS_WAY_S, Manners


class Parser(ArgumentParser):
    """As locust's: arguments can be kept out of its page."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: set[str] = set()

    def add_argument(self, *names: Any, **settings: Any) -> Any:
        if not settings.pop("include_in_web_ui", True):
            self.hidden.add(names[0])
        return super().add_argument(*names, **settings)


def said(*arguments: str, **more: object) -> dict[str, object]:
    parser = Parser()
    add_options(parser)
    return {"host": "http://127.0.0.1:8080", **vars(parser.parse_args(arguments)), **more}


def test_nothing_said_is_a_steady_load_on_what_make_up_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    options = read(said())
    assert options.entry == Origin("127.0.0.1", 8080)
    assert options.ways == (Way.ENTRY,)
    assert options.shape == Shape(ShapeKind.STEADY, 10.0)
    assert options.manners == Manners(think_s=1.0, patience_s=PATIENCE_S)
    assert (options.topology, options.requests, options.run_s) == (DEFAULT_TOPOLOGY, None, None)
    assert DEFAULT_TOPOLOGY.exists()


def test_the_topology_of_the_run_in_this_folder_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = RunPaths.below(tmp_path.resolve())
    paths.root.mkdir()
    paths.topology.write_text("")
    lock = RunLock(paths)
    assert read(said()).topology == paths.topology
    assert read(said("--topology", "other.toml")).topology == Path("other.toml")
    lock.release()
    assert read(said()).topology == DEFAULT_TOPOLOGY, "that run has ended"


def test_everything_can_be_said() -> None:
    options = read(
        said(
            *("--way", "both", "--shape", "flash-sale", "--rate", "3.5", "--peak", "20", "--at", "5"),
            *("--for", "10", "--country", "ie", "--journey", "shop", "--think", "0.5", "--wait-ms", "250"),
            *(
                "--countries",
                "ie, jp",
                "--services",
                "catalog,quote",
                "--client-retries",
                "4",
                "--patience",
                "2",
            ),
            *(
                "--sale-stock",
                "7",
                "--run-seconds",
                "60",
                "--seed",
                "9",
                "--fallback",
                "--requests",
                "r.jsonl",
            ),
            *("--begin", "123.5", "--timeout", "1.5"),
        )
    )
    assert options.ways == (Way.ENTRY, Way.DNS)
    assert options.shape == Shape(ShapeKind.FLASH_SALE, 3.5, 20.0, 5.0, 10.0, None, "IE")
    assert options.manners == Manners(think_s=0.5, patience_s=2.0, timeout_s=1.5, retries=4, fallback=True)
    assert (options.wait_ms, options.sale_stock, options.seed, options.run_s) == (250.0, 7, 9, 60.0)
    assert (options.countries, options.services) == (("IE", "JP"), ("catalog", "quote"))
    assert (options.requests, options.begin_s) == (Path("r.jsonl"), 123.5)


def test_locusts_page_shows_the_load_but_not_the_files() -> None:
    parser = Parser()
    add_options(parser)
    assert parser.hidden == {"--fallback", "--requests", "--topology", "--begin"}
    assert all(action.default is not None for action in parser._actions if action.dest != "help"), (
        "it keeps types"
    )


def test_every_mistake_is_named_at_once() -> None:
    mistakes = said(
        *("--rate", "many", "--think", "-1", "--client-retries", "1.5", "--countries", "IE,Japan"),
        *("--timeout", "0"),
    )
    with pytest.raises(OptionsError) as refused:
        read({**mistakes, "host": "localhost"})
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "--host",
        "--rate",
        "--think",
        "--countries",
        "--timeout",
        "--client-retries",
    ]
    assert lines[0] == "--host: 'localhost' is no address such as http://127.0.0.1:8080"
    assert "'Japan' is no country code such as IE" in lines[3]


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", ""])
def test_a_rate_is_a_positive_number(rate: str) -> None:
    with pytest.raises(OptionsError, match="--rate: "):
        read(said(rate=rate))


def test_what_a_shape_lacks_is_named_as_an_option() -> None:
    with pytest.raises(OptionsError) as refused:
        read(said("--shape", "spike"))
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == ["--peak", "--at", "--for"]


@pytest.mark.parametrize("arguments", [("--way", "pigeon"), ("--shape", "round"), ("--journey", "home")])
def test_a_word_that_there_is_not_ends_with_2(arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        said(*arguments)
    assert ended.value.code == 2


def test_a_drills_load_is_understood_as_it_is_meant(tmp_path: Path) -> None:
    load = scenario.Load(
        shape=Shape(ShapeKind.SPIKE, 10.0, peak=30.0, at_s=5.0, for_s=10.0),
        ways=(Way.ENTRY, Way.DNS),
        journey="quote",
        think_s=0.25,
        wait_ms=300.0,
        countries=("IE", "FR"),
        timeout_s=1.5,
        client_retries=3,
    )
    command = traffic.command(load, "http://127.0.0.1:8080", DEFAULT_TOPOLOGY, tmp_path / "r", 60.0, 7)
    arguments = command[command.index("--headless") + 1 :]
    host = arguments.index("--host")
    options = read(said(*arguments[:host], *arguments[host + 2 :]))
    assert (options.shape, options.ways, options.journey) == (load.shape, load.ways, load.journey)
    assert (options.manners.think_s, options.manners.retries) == (load.think_s, load.client_retries)
    assert (options.manners.timeout_s, options.manners.waits_s) == (1.5, 1.5 + ON_ITS_WAY_S)
    assert (options.wait_ms, options.countries, options.run_s) == (load.wait_ms, load.countries, 60.0)
