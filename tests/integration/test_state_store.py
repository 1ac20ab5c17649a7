"""The state store on real servers: who gets in when, what survives, what is on disk before it is acknowledged."""

import asyncio
import re
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random

import pytest
import uvloop
from redis.exceptions import AuthenticationError, ResponseError
from tests.integration.state_stores import IDENTITY, OPENING, PASSWORD, StateServer, state_server

from atoll.clock import SystemClock
from atoll.state.envelope import Envelope
from atoll.state.errors import Refusal, StateError, StoreFull, StoreRefused, StoreUnavailable
from atoll.state.kind import Kind
from atoll.state.model import ModelStore
from atoll.state.opening import Library, open_if_closed, open_store_epoch, state_library
from atoll.state.store import ApplyOutcome, Batch, CellChange, CounterChange, Opened, SetChange
from atoll.state.types import counter
from atoll.state.valkey_store import ValkeyStore
from atoll.state.vector import Dot, epoch_of

pytestmark = pytest.mark.timeout(240)

STRACE = shutil.which("strace")


async def opened(server: StateServer, region: str = "eu", floor: int = 0) -> Opened:
    result = await open_store_epoch(server.address, OPENING, PASSWORD, region, IDENTITY, floor=floor)
    assert result is not None
    return result


async def restarted(server: StateServer) -> Opened:
    await server.kill()
    await server.start()
    return await opened(server)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[StateServer, ValkeyStore]]:
    """A store in use."""
    async with state_server(folder) as server:
        await opened(server)
        async with server.store() as store:
            yield server, store


def value(payload: bytes, expiry_ms: int = 0) -> list[CellChange]:
    return [CellChange("", payload, expiry_ms)]


# --- The gate


async def test_nobody_gets_in_before_the_epoch_has_begun(tmp_path: Path) -> None:
    async with state_server(tmp_path) as server, server.store() as store, server.client() as other:
        with pytest.raises(StoreRefused) as refused:
            await store.write("carts", Kind.REGISTER, "k", value(b"1"))
        assert refused.value.refusal is Refusal.CLOSED and "opened" in str(refused.value)
        with pytest.raises(AuthenticationError):  # nor those who use other keys of the store
            await other.set("strong", "1")
        first = await opened(server)
        assert (first.fresh, first.previous) == (True, None)
        assert (await store.write("carts", Kind.REGISTER, "k", value(b"1"))).dot == Dot(first.actor, 2)
        await other.set("strong", "1")
        with pytest.raises(AuthenticationError):
            async with server.client(OPENING) as late:
                await late.ping()


async def test_each_start_is_closed_again(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        await store.write("carts", Kind.REGISTER, "k", value(b"1"))
        await server.kill()
        await server.start()
        with pytest.raises(StoreRefused, match="opened"):
            await store.write("carts", Kind.REGISTER, "k", value(b"2"))


async def test_a_store_that_is_open_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        vector = await store.vector()
        assert await open_store_epoch(server.address, OPENING, PASSWORD, "eu", IDENTITY) is None
        assert await open_if_closed(store, IDENTITY) is None
        assert await store.vector() == vector


async def test_the_functions_refuse_by_themselves_where_somebody_else_runs_the_server(tmp_path: Path) -> None:
    """Such a server has one password, so the functions must know that this process of it has begun no epoch."""
    async with state_server(tmp_path, start=False) as server:
        server.server.write_config(PASSWORD)
        await server.start()
        async with server.store() as store:
            with pytest.raises(StoreRefused, match="not loaded"):
                await store.heartbeat()
            first = await open_if_closed(store, IDENTITY)
            assert first is not None and first.fresh
            await store.write("carts", Kind.REGISTER, "k", value(b"1"))
            await server.kill()
            await server.start()
            for attempt in (
                store.heartbeat,
                lambda: store.write("carts", Kind.REGISTER, "k", value(b"2")),
                lambda: store.apply(Batch("us.1700000000", 0, 1, ())),
                lambda: store.expire(1),
            ):
                with pytest.raises(StoreRefused) as refused:
                    await attempt()
                assert refused.value.refusal is Refusal.CLOSED
            assert (await store.read_register("carts", "k")) is not None  # reads need no epoch
            second = await open_if_closed(store, IDENTITY)
            assert second is not None
            assert second.previous == Dot(first.actor, 2)


async def test_another_deployments_store_is_refused_and_stays_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, _):
        await server.kill()
        await server.start()
        for region, identity in (("eu", "another"), ("us", IDENTITY)):
            with pytest.raises(StoreRefused, match="wipe") as refused:
                await open_store_epoch(server.address, OPENING, PASSWORD, region, identity)
            assert refused.value.refusal is Refusal.IDENTITY
        with pytest.raises(AuthenticationError):
            async with server.client() as client:
                await client.ping()


async def test_other_libraries_are_loaded_too_and_a_new_version_closes_the_store(tmp_path: Path) -> None:
    other = Library(
        "other_1", "#!lua name=other_1\nserver.register_function('other', function() return 7 end)"
    )
    async with state_server(tmp_path) as server:
        await open_store_epoch(server.address, OPENING, PASSWORD, "eu", IDENTITY, libraries=[other])
        async with server.store() as store:
            assert await store.calls.command("FCALL", "other", 0) == 7
            newer = state_library().code + "\n-- a change\n"
            await store.calls.command("FUNCTION", "LOAD", "REPLACE", newer)
            with pytest.raises(StoreRefused, match="opened"):
                await store.heartbeat()
            assert await open_if_closed(store, IDENTITY) is not None


async def test_who_is_not_there_is_unavailable_and_the_error_says_that_nothing_was_sent(
    tmp_path: Path,
) -> None:
    async with state_server(tmp_path, start=False) as server, server.store() as store:
        with pytest.raises(StoreUnavailable, match="nothing was done") as unavailable:
            await store.write("carts", Kind.REGISTER, "k", value(b"1"))
        assert not unavailable.value.sent
        with pytest.raises(StoreUnavailable):
            await opened(server)


async def test_a_store_that_stands_still_leaves_the_outcome_open(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        assert server.process is not None
        await store.heartbeat()
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match="may have been carried out") as unavailable:
                await store.heartbeat()
            assert unavailable.value.sent
        finally:
            server.process.send_signal(signal.SIGCONT)
        while len((await store.read_log(None, 10)).entries) < 3:  # it had arrived
            await asyncio.sleep(0.01)


# --- Epochs


async def test_numbers_are_dense_in_each_epoch_and_epochs_grow(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        actors = [(await store.heartbeat()).actor]
        for _ in range(2):
            for number in range(5):
                await store.write("carts", Kind.COUNTER, "k", [CounterChange(number)])
            last = (await store.vector()).latest("eu")
            again = await restarted(server)
            assert again.previous == last and not again.fresh
            actors.append(again.actor)
        assert sorted({epoch_of(actor) for actor in actors}) == [epoch_of(actor) for actor in actors]
        log = await store.read_log(None, 1000)
        assert not log.gap
        for actor in actors:
            numbers = [entry.dot.seq for entry in log.entries if entry.dot.actor == actor]
            assert numbers == list(range(1, len(numbers) + 1))
        # What older epochs wrote is known too.
        assert (await store.vector()).seq(actors[0]) == 7


async def test_a_zombie_of_an_older_epoch_can_not_write_to_the_log(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        stale = await store.heartbeat()
        await restarted(server)
        with pytest.raises(ResponseError, match="equal or smaller"):
            async with server.client() as client:
                await client.xadd("s:log", {"n": "", "o": b""}, id=f"{epoch_of(stale.actor)}-{stale.seq + 1}")
        await store.heartbeat()


async def test_an_old_disk_that_is_put_back_issues_no_number_twice(tmp_path: Path) -> None:
    async with running(tmp_path / "store") as (server, store):
        await store.write("carts", Kind.REGISTER, "k", value(b"kept"))
        await server.kill()
        shutil.copytree(tmp_path / "store", tmp_path / "backup")
        await server.start()
        later = await opened(server)
        lost = [(await store.write("carts", Kind.REGISTER, "k", value(b"lost"))).dot for _ in range(3)]
        await server.kill()
        shutil.rmtree(tmp_path / "store")
        shutil.copytree(tmp_path / "backup", tmp_path / "store")
        await server.start()
        now = await opened(server, floor=epoch_of(later.actor))
        written = [(await store.write("carts", Kind.REGISTER, "k", value(b"new"))).dot for _ in range(3)]
        assert now.actor != later.actor and not set(lost) & set(written)
        assert later.actor not in await store.vector()  # and what was lost is not taken for known


async def test_a_clock_that_went_back_orders_writes_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        await store.skew(400)
        before = await store.write("carts", Kind.REGISTER, "k", value(b"1"))
        await restarted(server)
        await store.skew(-5000)
        after = await store.write("carts", Kind.REGISTER, "k", value(b"2"))
        assert after.stamp > before.stamp
        found = await store.read_register("carts", "k")
        assert found is not None and found.payload == b"2"


# --- What was acknowledged survives


async def test_no_acknowledged_write_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        random = Random(4)
        acknowledged: dict[str, int] = {}
        sent = count()

        async def write() -> None:
            while True:
                number = next(sent)
                await store.write("carts", Kind.REGISTER, f"k{number}", value(str(number).encode()))
                acknowledged[f"k{number}"] = number

        for _ in range(3):
            writers = [asyncio.create_task(write()) for _ in range(8)]
            await asyncio.sleep(random.uniform(0.1, 0.3))
            await server.kill()
            ended = await asyncio.gather(*writers, return_exceptions=True)
            assert all(isinstance(error, StateError) for error in ended)
            await server.start()
            await opened(server)
        for key, number in acknowledged.items():
            found = await store.read_register("carts", key)
            assert found is not None and found.payload == str(number).encode()
        dots = {entry.dot for entry in (await store.read_log(None, 1_000_000)).entries}
        assert len(acknowledged) > 20 and len(dots) >= len(acknowledged)


async def test_a_batch_is_applied_with_its_cursor_or_not_at_all(tmp_path: Path) -> None:
    """However the server ends: the counter's total is the number up to which the actor is known."""
    async with running(tmp_path) as (server, store):
        peer = ModelStore(SystemClock())
        actor = peer.open("us", IDENTITY).actor
        for _ in range(4000):
            peer.write("carts", Kind.COUNTER, "clicks", [CounterChange(1)])
        log = [(entry.dot.seq, entry.operation) for entry in peer.read_log(None, 5000).entries]
        random = Random(7)

        async def apply_all() -> None:
            while (known := (await store.vector()).seq(actor)) < len(log):
                entries = tuple(log[known : known + 50])
                result = await store.apply(Batch(actor, known, known + len(entries), entries))
                assert result.outcome is ApplyOutcome.OK

        for _ in range(6):
            applying = asyncio.create_task(apply_all())
            await asyncio.sleep(random.uniform(0, 0.05))
            await server.kill()
            await asyncio.gather(applying, return_exceptions=True)
            await server.start()
            await opened(server)
            known = (await store.vector()).seq(actor)
            tallies = await store.read_counter("carts", "clicks")
            assert counter.total(tallies.values()) == max(
                0, known - 1
            )  # the first operation begins the epoch
            assert (await store.statistics()).applied == known
        await apply_all()
        assert counter.total((await store.read_counter("carts", "clicks")).values()) == 4000


async def test_a_full_store_takes_nothing_in_changes_nothing_and_still_removes(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        await store.write("carts", Kind.REGISTER, "big", value(b"x" * 1_000_000))
        async with server.client() as client:
            await client.config_set("maxmemory", (await client.info("memory"))["used_memory"] + 200_000)

        async def fill() -> None:
            for number in count():
                await store.write("carts", Kind.MAP, "m", [CellChange(str(number), b"v" * 20_000)])

        with pytest.raises(StoreFull, match="maxmemory"):
            await fill()
        before = (await store.vector(), await store.digests("carts"), await store.read_map("carts", "m"))
        for kind, changes in (
            (Kind.MAP, [CellChange("0", b"changed"), CellChange("new", b"")]),
            (Kind.COUNTER, [CounterChange(1)]),
            (Kind.SET, [SetChange("e", present=True)]),
        ):
            with pytest.raises(StoreFull):
                await store.write("carts", kind, "m", changes)
        assert (
            await store.vector(),
            await store.digests("carts"),
            await store.read_map("carts", "m"),
        ) == before
        await store.heartbeat()  # what keeps the region in the others' sight goes on
        assert (await store.write("carts", Kind.REGISTER, "big", [CellChange("", None)])).existed == (True,)
        await store.write("carts", Kind.COUNTER, "m", [CounterChange(1)])


# --- Waiting


async def test_readers_that_wait_take_no_connection_from_the_others(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, store):
        at = (await store.vector()).latest("eu")
        readers = [asyncio.create_task(store.read_log(at, 10, 30)) for _ in range(40)]
        acks = asyncio.create_task(store.read_acks((await store.read_acks("")).cursor, 30))
        await asyncio.gather(*(store.vector() for _ in range(200)))
        assert not any(reader.done() for reader in readers)
        written = await store.write("carts", Kind.REGISTER, "k", value(b"1"))
        assert [slice_.entries[0].dot for slice_ in await asyncio.gather(*readers)] == [written.dot] * 40
        await store.acked("us", written.dot)
        assert [(ack.peer, ack.dot) for ack in (await acks).acks] == [("us", written.dot)]


async def test_a_reader_that_gives_up_leaves_a_usable_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, store):
        at = (await store.vector()).latest("eu")
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await store.read_log(at, 10, 30)
        assert (await store.read_log(at, 10, 0.05)).entries == ()
        dot = await store.heartbeat()
        assert (await store.read_log(at, 10, 5)).entries[0].dot == dot


async def test_a_log_that_was_cut_is_a_gap(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, store):
        first = (await store.vector()).latest("eu")
        assert first is not None
        last = [await store.heartbeat() for _ in range(10)][-1]
        assert await store.trim(last) == 10
        for block_s in (0.0, 5.0):
            assert (await store.read_log(None, 10, block_s)).gap
            assert (await store.read_log(first, 10, block_s)).gap
            following = await store.read_log(Dot(last.actor, last.seq - 1), 10, block_s)
            assert [entry.dot for entry in following.entries] == [last]
        assert await store.trim(last._replace(seq=last.seq + 1)) == 1
        assert (await store.read_log(first, 10, 0.05)).gap  # nothing follows, and yet something is missing
        assert not (await store.read_log(last, 10, 0.05)).gap


# --- Durability: an acknowledgement means that it is on disk


ACKNOWLEDGED = re.compile(r"\b(?:write|writev|sendto)\(\d+<[^>]*(?:socket|TCP)[^>]*>.*[0-9a-f]{16}\|eu\.")
SYNCED = re.compile(r"\b(?:fdatasync|fsync)\(\d+<[^>]*aof[^>]*>.* = 0|(?:fdatasync|fsync) resumed.* = 0")
LOGGED = re.compile(r"\bwrite\(\d+<[^>]*\.aof>")


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: what reaches the disk can't be seen")
async def test_every_write_is_on_disk_before_its_answer(tmp_path: Path) -> None:
    trace = await traced(tmp_path, many_writes)
    acknowledged = unsynced = 0
    synced = logged = False
    for line in trace:
        if LOGGED.search(line):
            synced, logged = False, True
        elif SYNCED.search(line):
            synced = True
        elif ACKNOWLEDGED.search(line):
            acknowledged += 1
            unsynced += not (synced and logged)
    assert acknowledged == 30, "the trace shows all answers"
    assert unsynced == 0


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: what reaches the disk can't be seen")
async def test_control_waitaof_under_everysec_acknowledges_what_is_not_on_disk(tmp_path: Path) -> None:
    """Why the store syncs always: Valkey 9.1 answers WAITAOF before the sync."""

    async def wait_aof(server: StateServer) -> None:
        async with server.client(OPENING) as client:
            await client.config_set("appendfsync", "everysec")
            for number in range(30):
                await client.set(f"k{number}", number)
                assert await client.waitaof(1, 0, 1000) == [1, 0]

    trace = await traced(tmp_path, wait_aof)
    written = sum(bool(LOGGED.search(line)) for line in trace)
    synced = sum(bool(SYNCED.search(line)) for line in trace)
    assert written >= 30
    assert synced < 30


async def many_writes(server: StateServer) -> None:
    await opened(server)
    async with server.store() as store:
        for number in range(30):
            await store.write("carts", Kind.REGISTER, f"k{number % 7}", value(str(number).encode()))


async def traced(folder: Path, act: Callable[[StateServer], Awaitable[None]]) -> list[str]:
    """The system calls of a server while something is done with it."""
    assert STRACE is not None
    out = folder / "trace"
    async with state_server(folder / "store") as server:
        assert server.process is not None
        calls = "trace=write,writev,sendto,fsync,fdatasync"
        options = ("-f", "-y", "-s", "200", "-e", calls, "-o", str(out), "-p", str(server.process.pid))
        strace = await asyncio.create_subprocess_exec(STRACE, *options, stderr=asyncio.subprocess.PIPE)
        try:
            assert strace.stderr is not None
            async with asyncio.timeout(60):
                while b"attached" not in (line := await strace.stderr.readline()):
                    assert line, "strace ended"
            await act(server)
        finally:
            strace.terminate()
            await strace.communicate()
    return out.read_text().splitlines()


# --- Values as they come back


async def test_any_bytes_come_back_as_they_were(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, store):
        random = Random(1)
        payloads = [b"", b"|", b"x|y||", bytes(range(256)), random.randbytes(300_000)]
        for number, payload in enumerate(payloads):
            await store.write("carts", Kind.REGISTER, f"k{number}", value(payload, 4_000_000_000_000))
            await store.write("carts", Kind.MAP, "ключ:|", [CellChange(f"поле|{number}", payload)])
        await restarted(server)
        for number, payload in enumerate(payloads):
            found = await store.read_register("carts", f"k{number}")
            assert isinstance(found, Envelope)
            assert (found.payload, found.expiry_ms) == (payload, 4_000_000_000_000)
            field = await store.read_field("carts", "ключ:|", f"поле|{number}")
            assert field is not None and field.payload == payload


async def test_changes_that_do_not_fit_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with state_server(tmp_path, start=False) as server, server.store() as store:
        for kind, changes in (
            (Kind.REGISTER, []),
            (Kind.REGISTER, [CellChange("field", b"1")]),
            (Kind.REGISTER, [CounterChange(1)]),
            (Kind.MAP, [CellChange("a", b"1"), CellChange("a", b"2")]),
            (Kind.COUNTER, [CounterChange(1), CounterChange(2)]),
            (Kind.SET, [CellChange("a", b"1")]),
        ):
            with pytest.raises(ValueError, match=kind.name.lower()):
                await store.write("carts", kind, "k", changes)


async def test_keys_are_found_by_prefix_and_counters_refuse_what_they_could_not_count(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, store):
        for key in ("a*b", "a*c", "aXb", "b"):
            await store.write("carts", Kind.COUNTER, key, [CounterChange(2**53 - 1)])
        assert await store.keys("carts", Kind.COUNTER, "a*", 10) == ("a*b", "a*c")
        assert await store.keys("carts", Kind.COUNTER, "", 2) == ("a*b", "a*c")
        with pytest.raises(StoreRefused) as refused:
            await store.write("carts", Kind.COUNTER, "b", [CounterChange(1)])
        assert refused.value.refusal is Refusal.RANGE
        assert (await store.write("carts", Kind.COUNTER, "b", [CounterChange(-(2**53 - 1))])).total == 0


# --- Tasks that use it, on both event loops: tests run on Python's, agents and gateways on uvloop's


async def ended(folder: Path, chance: Random) -> int:
    """How many of the tasks that write for ever ended when they were cancelled, somewhere in a write."""
    async with running(folder) as (_, store):

        async def write_for_ever(number: int) -> None:
            for turn in count():
                await store.write("carts", Kind.REGISTER, f"{number}", value(b"%d" % turn))

        async with asyncio.timeout(60):
            tasks = [asyncio.create_task(write_for_ever(number)) for number in range(40)]
            for task in tasks:
                for _ in range(chance.randrange(8)):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait(tasks)
        return sum(task.cancelled() for task in tasks)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_whoever_is_cancelled_during_a_write_ends(
    tmp_path: Path, run: Callable[[Coroutine[object, object, int]], int]
) -> None:
    seed = Random().randrange(10**6)  # in the message of a failure
    assert run(ended(tmp_path, Random(seed))) == 40, f"seed {seed}"
