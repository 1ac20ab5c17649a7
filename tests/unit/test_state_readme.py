"""The blocks of the state's page run as they stand there, and the tests that it names are there."""

import ast
import inspect
import re
from pathlib import Path
from random import Random

from fastapi import FastAPI
from tests.unit.shop_state import Registers, following

from atoll.clock import ManualClock
from atoll.state.model import AsyncModelStore, ModelStore
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.regional import RegionalState
from atoll.state.sdk.scope import entered
from atoll.state.session import SessionTokens
from atoll.state.wiring import wire_namespaces
from atoll.topology import Level, load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "platform" / "atoll" / "state" / "README.md").read_text()
REGION = "eu-west"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(found)


async def test_its_blocks_run(tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text((ROOT / "infra" / "topologies" / "residency.toml").read_text() + block("toml"))
    topology = load(file)
    assert topology.namespaces["carts"].level is Level.SESSION
    assert {topology.regions[region].zone for region in topology.holders("carts")} == {"eu"}
    clock, model, registers = ManualClock(), ModelStore(ManualClock()), Registers()
    model.open(REGION, "a-test")
    store = AsyncModelStore(model)
    namespaces = wire_namespaces(topology)
    regional = RegionalState(REGION, namespaces, store, following(store, REGION), registers, clock, Random(1))
    access = StateAccess(regional, SessionTokens(b"sessions-of-tests"), clock, regional.close)
    names: dict[str, object] = {"api": FastAPI()}
    code = compile(block("python"), "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with entered(access.scope()):
        ran = eval(code, names)
        assert inspect.isawaitable(ran)
        await ran
        assert model.read_map("carts", "cart-7")
        assert [key for namespace, key in registers.values if namespace == "stock"] == ["sku-1"]
    await access.close()


def test_the_tests_that_it_names_are_there() -> None:
    named = re.findall(r"`(test_\w+\.py)`\s((?:`test_\w+`(?:, )?)+)", PAGE)
    assert len(named) > 20
    for file, tests in named:
        text = "".join(path.read_text() for path in (ROOT / "tests").rglob(file))
        for test in re.findall(r"test_\w+", tests):
            assert f"def {test}(" in text, f"{file} has no {test}"


def test_every_fault_of_its_table_says_where_it_is_shown() -> None:
    _, _, faults = PAGE.partition("## What each fault leaves of it")
    tables = re.findall(r"(?:^\|.*\n)+", faults, flags=re.MULTILINE)
    told, shown = ([row.split("|")[1].strip() for row in table.splitlines()[2:]] for table in tables[:2])
    assert told == shown
