"""Strong registers driven: outcomes, failures, batches, and the acceptor set's changes, on acceptors at hand."""

import asyncio
from dataclasses import replace

import pytest
from tests.unit.broken_strong import NoFence, NoRescan, TwoAtOnce
from tests.unit.strong_local import NAMESPACE, Local, battery

from atoll.state.strong.acceptor import Acceptor
from atoll.state.strong.backend import ABSENT, ANY, Change, Committed, Unavailable, Unknown, Versioned
from atoll.state.strong.membership import MembershipError
from atoll.state.strong.messages import Accept, Prepare, Read, Register, Reply, Request
from atoll.state.strong.reconfiguration import Reconfiguration
from atoll.state.strong.registers import Unreachable


async def test_the_battery() -> None:
    await battery(await Local().founded("p.1"))


async def test_a_change_costs_two_rounds_cold_one_warm_and_a_read_one() -> None:
    local = Local()
    registers = await local.founded("p.1")
    for turn in range(10):
        await registers.change(NAMESPACE, "apple", Change(ANY, b"v", f"op-{turn}"))
    assert (await registers.get(NAMESPACE, "apple")) == Versioned(10, b"v")
    found = registers.statistics()
    assert (found.commits, found.warm_commits, found.rounds, found.ballots) == (10, 9, 11, 10)
    assert found.reads_in_one_round == found.reads == 1
    kinds = [type(request.body) for _, request in local.asked]
    assert (kinds.count(Prepare), kinds.count(Accept), kinds.count(Read)) == (3, 30, 3)


async def test_what_comes_at_once_shares_rounds() -> None:
    registers = await Local().founded("p.1")
    outcomes = await asyncio.gather(
        *(registers.change(NAMESPACE, "apple", Change(ANY, b"v", f"op-{turn}")) for turn in range(160))
    )
    assert outcomes == [Committed(turn) for turn in range(1, 161)]
    assert registers.statistics().commits == 10


async def test_a_minority_refuses_and_says_who_is_missing() -> None:
    local = Local()
    registers = await local.founded("p.1")
    local.down = {"r1", "r2"}
    for operation in (
        registers.get(NAMESPACE, "apple"),
        registers.change(NAMESPACE, "pear", Change(ANY, b"v", "op")),
    ):
        with pytest.raises(
            Unavailable,
            match=r"no majority \(2 of 3 acceptors\): r1: .*r2: .*answered so far: r0\. Nothing was done",
        ):
            await operation
    local.down = set()
    assert await registers.get(NAMESPACE, "pear") is None


async def test_what_may_be_done_is_unknown_and_its_repetition_finds_the_outcome() -> None:
    local = Local()
    one, other = await local.founded("p.1"), await local.founded("q.1")
    await one.change(NAMESPACE, "apple", Change(ANY, b"v1", "first"))
    local.deaf = {"r0", "r1", "r2"}
    change = Change(ANY, b"v2", "second")
    with pytest.raises(Unknown, match="same operation id"):
        await one.change(NAMESPACE, "apple", change, timeout_s=0.05)
    local.deaf = set()
    assert await other.change(NAMESPACE, "apple", Change(2, b"v3", "third")) == Committed(3)
    assert await other.change(NAMESPACE, "apple", change) == Committed(2)
    assert await one.get(NAMESPACE, "apple") == Versioned(3, b"v3")


async def test_one_acceptor_less_is_not_noticed_and_any_proposer_may_take_over() -> None:
    local = Local()
    one, other = await local.founded("p.1"), await local.founded("q.1")
    local.down = {"r2"}
    assert await one.change(NAMESPACE, "apple", Change(ABSENT, b"v1", "1")) == Committed(1)
    assert await other.change(NAMESPACE, "apple", Change(1, b"v2", "2")) == Committed(2)
    assert await one.change(NAMESPACE, "apple", Change(2, b"v3", "3")) == Committed(3)


async def test_closing_ends_what_waits_with_what_is_true_of_it() -> None:
    local = Local()
    registers = await local.founded("p.1")
    gate = asyncio.Event()
    ask = local.ask

    async def slow(region: str, request: object) -> object:
        await gate.wait()
        return await ask(region, request)  # type: ignore[arg-type]

    local.ask = slow  # type: ignore[method-assign, assignment]
    waiting = asyncio.create_task(registers.change(NAMESPACE, "apple", Change(ANY, b"v", "1")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await registers.close()
    with pytest.raises(Unavailable, match="stopped"):
        await waiting


async def test_without_acceptors_it_says_so() -> None:
    with pytest.raises(Unavailable, match="not known here yet"):
        await Local().registers("p.1").get(NAMESPACE, "apple")


async def test_the_reserved_namespace_is_no_service_s() -> None:
    registers = await Local().founded("p.1")
    with pytest.raises(ValueError, match="acceptor sets"):
        await registers.change("@", NAMESPACE, Change(ANY, b"mine", "op"))


# --- Founding


async def test_founding_needs_all_regions_and_finds_what_is_founded() -> None:
    local = Local()
    local.down = {"r1"}
    one = Reconfiguration(NAMESPACE, local.registers("p.1"), local)
    regions = ["r0", "r1", "r2"]
    with pytest.raises(Unavailable, match="r1 does not answer"):
        await one.found(regions)
    assert await one.learn(regions) is None
    local.down = set()
    founded = await one.found(regions)
    local.acceptors["r2"].identity = "another store"  # wiped afterwards
    other = Reconfiguration(NAMESPACE, local.registers("q.1"), local)
    assert await other.found(regions) == founded == await other.learn(regions)


async def test_founders_who_saw_different_stores_do_not_both_succeed() -> None:
    local = Local()
    one = Reconfiguration(NAMESPACE, local.registers("p.1"), local)
    description = (await one.describe(["r0", "r1", "r2"]))["r0"]
    assert description.configuration is None
    # The first founder got as far as r0 when r2's store was lost.
    local.down = {"r2"}
    ask = local.ask

    async def answers_descriptions(region: str, request: object) -> object:
        if region == "r2" and request.member == "":  # type: ignore[attr-defined]
            return local.acceptors[region].answer(request)  # type: ignore[arg-type]
        return await ask(region, request)  # type: ignore[arg-type]

    local.ask = answers_descriptions  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable, match="all have to"):
        await one.found(["r0", "r1", "r2"])
    local.down = set()
    local.acceptors["r2"].identity = "another store"
    with pytest.raises(Unavailable, match="all have to"):
        await Reconfiguration(NAMESPACE, local.registers("q.1"), local).found(["r0", "r1", "r2"])


# --- Changes of the acceptor set


async def test_a_set_of_three_grows_to_five_and_keeps_all() -> None:
    local = Local(5)
    registers = await local.founded("p.1")
    for number in range(40):
        await registers.change(NAMESPACE, f"key-{number}", Change(ABSENT, b"v", f"op-{number}"))
    change = Reconfiguration(NAMESPACE, registers, local)
    await change.join(local.member("r3"))
    configuration = await change.join(local.member("r4"))
    assert (configuration.epoch, len(configuration.members)) == (4, 5)
    assert (await change.membership()).settled
    local.down = {"r0", "r1"}
    for number in range(40):
        assert await registers.get(NAMESPACE, f"key-{number}") == Versioned(1, b"v")


async def test_a_wiped_acceptor_is_no_member_until_it_joins_as_a_new_one() -> None:
    local = Local()
    registers = await local.founded("p.1")
    await registers.change(NAMESPACE, "apple", Change(ABSENT, b"v", "op"))
    old = local.member("r2")
    wiped = Acceptor()
    wiped.open("new store of r2")
    local.acceptors = {**local.acceptors, "r2": wiped}
    local.down = {"r1"}
    with pytest.raises(Unavailable, match="has to join as a new member"):
        await registers.get(NAMESPACE, "apple")
    local.down = set()
    change = Reconfiguration(NAMESPACE, registers, local)
    await change.join(local.member("r2"))
    configuration = await change.leave(old)
    assert {member.identity for member in configuration.members} == {
        "store-of-r0",
        "store-of-r1",
        "new store of r2",
    }
    local.down = {"r0"}
    assert await registers.get(NAMESPACE, "apple") == Versioned(1, b"v")


class Shaky(Local):
    """Of what the third configuration proposes the first so many requests find nobody."""

    left = 0

    async def ask(self, region: str, request: Request) -> Reply:
        if self.left and request.epoch == 3 and isinstance(request.body, Prepare | Accept):
            self.left -= 1
            raise Unreachable("cut")
        return await super().ask(region, request)


async def test_faults_that_come_and_go_do_not_send_a_change_back_to_its_begin() -> None:
    local = Shaky(4)
    registers = await local.founded("p.1")
    for number in range(40):
        await registers.change(NAMESPACE, f"key-{number}", Change(ABSENT, b"v", f"op-{number}"))
    local.left = 600
    configuration = await Reconfiguration(NAMESPACE, registers, local).join(local.member("r3"))
    assert local.left == 0 and len(configuration.members) == 4
    assert all(Register(NAMESPACE, f"key-{number}") in local.acceptors["r3"].records for number in range(40))


async def test_a_change_that_broke_off_is_finished_by_another() -> None:
    local = Local(4)
    registers = await local.founded("p.1")
    await registers.change(NAMESPACE, "apple", Change(ABSENT, b"v", "op"))
    local.down = {"r3"}
    with pytest.raises(Unavailable, match="finish the change"):
        await Reconfiguration(NAMESPACE, registers, local).join(local.member("r3"))
    other = local.registers("q.1")
    again = Reconfiguration(NAMESPACE, other, local)
    await again.learn(["r0", "r1", "r2"])
    with pytest.raises(MembershipError, match="finish that first"):
        await again.join(replace(local.member("r3"), identity="yet another"))
    local.down = set()
    assert len((await again.finish()).members) == 4
    assert (await again.membership()).settled
    assert await other.get(NAMESPACE, "apple") == Versioned(1, b"v")


async def late_write_survives(kind: type[Reconfiguration]) -> bool:
    """A proposer that has heard of nothing writes by the old set after two have joined; is the write seen?"""
    local = Local(5)
    unaware, registers = await local.founded("p.1"), await local.founded("q.1")
    await unaware.change(NAMESPACE, "apple", Change(ABSENT, b"early", "1"))
    change = kind(NAMESPACE, registers, local)
    await change.join(local.member("r3"))
    await change.join(local.member("r4"))
    local.down = {"r2"}
    assert await unaware.change(NAMESPACE, "apple", Change(ANY, b"late", "2")) == Committed(2)
    local.down = {"r0", "r1"}
    return await registers.get(NAMESPACE, "apple") == Versioned(2, b"late")


@pytest.mark.parametrize(("kind", "survives"), [(Reconfiguration, True), (NoFence, False)])
async def test_the_old_set_is_fenced_off_before_the_next_change(
    kind: type[Reconfiguration], *, survives: bool
) -> None:
    assert await late_write_survives(kind) is survives


@pytest.mark.parametrize(("kind", "survives"), [(Reconfiguration, True), (NoRescan, False)])
async def test_registers_are_rewritten_before_the_next_change(
    kind: type[Reconfiguration], *, survives: bool
) -> None:
    local = Local(5)
    registers = await local.founded("p.1")
    local.down = {"r2"}
    await registers.change(NAMESPACE, "apple", Change(ABSENT, b"v", "1"))
    local.down = set()
    change = kind(NAMESPACE, registers, local)
    await change.join(local.member("r3"))
    await change.join(local.member("r4"))
    local.down = {"r0", "r1"}
    assert (await registers.get(NAMESPACE, "apple") == Versioned(1, b"v")) is survives


async def test_two_at_once_lose_a_write() -> None:
    """The control of one at a time: the new majority {r2, r3, r4} has nobody of the old one {r0, r1}."""
    local = Local(5)
    registers = await local.founded("p.1")
    local.down = {"r2"}
    await registers.change(NAMESPACE, "apple", Change(ABSENT, b"v", "1"))
    local.down = set()
    change = TwoAtOnce(NAMESPACE, registers, local)
    change._rescan = NoRescan._rescan.__get__(change)  # type: ignore[method-assign]
    await change.join(local.member("r3"))
    local.down = {"r0", "r1"}
    assert await registers.get(NAMESPACE, "apple") is None
