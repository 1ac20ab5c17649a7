"""Channels over real sockets: who may connect, what a lost connection costs, and that nothing waits for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest
from tests.integration.ports import free_port

from atoll.channel import (
    Answerer,
    Caller,
    CallLost,
    Channel,
    ChannelClosed,
    HelloRefused,
    NotSent,
    Remote,
    Wire,
    open_channel,
    serve_channels,
)
from atoll.channel.calls import Handler
from atoll.channel.channel import Serve
from atoll.channel.frames import FRAME_LIMIT_BYTES, FrameError, length_of, pack, unpack
from atoll.topology.wiring import Address

SECRET = b"a deployment's secret"


@contextlib.asynccontextmanager
async def serving(purposes: Mapping[str, Serve]) -> AsyncIterator[Address]:
    address = Address("127.0.0.1", free_port())
    async with await serve_channels(address, SECRET, "eu-west/agent", purposes):
        yield address


async def _echo(channel: Channel) -> None:
    while True:
        await channel.send(await channel.receive())


@contextlib.asynccontextmanager
async def answering(methods: Mapping[str, Handler]) -> AsyncIterator[tuple[Caller, Address]]:
    async with serving({"calls": Answerer(methods)}) as address:
        caller = Caller(address, SECRET, "us-east/agent")
        try:
            yield caller, address
        finally:
            await caller.close()


async def test_both_sides_know_each_other_and_messages_keep_their_order() -> None:
    names: list[str] = []

    async def echo(channel: Channel) -> None:
        names.append(channel.peer)
        await _echo(channel)

    async with serving({"echo": echo}) as address:
        async with await open_channel(address, SECRET, "us-east/agent", "echo") as channel:
            sent: list[Wire] = [1, "two", b"three", [4, None], {"five": 5.5}, True]
            for message in sent:
                await channel.send(message)
            got = [await channel.receive() for _ in sent]
        assert got == [1, "two", b"three", (4, None), {"five": 5.5}, True]
        assert (names, channel.peer) == (["us-east/agent"], "eu-west/agent")


@pytest.mark.parametrize(
    ("secret", "purpose", "reason"),
    [
        (b"another one", "echo", "does not know this deployment's secret"),
        (SECRET, "drill", "nothing here serves"),
    ],
)
async def test_who_does_not_belong_here_gets_no_further_than_hello(
    secret: bytes, purpose: str, reason: str
) -> None:
    served: list[Channel] = []

    async def serve(channel: Channel) -> None:
        served.append(channel)

    async with serving({"echo": serve}) as address:
        with pytest.raises(HelloRefused, match=reason):
            await open_channel(address, secret, "us-east/agent", purpose)
        assert not served


async def test_an_impostor_of_the_server_is_found_out() -> None:
    """It takes every proof for good, but has none of its own."""

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(pack(["atoll", [1], bytes(16)]))
        await reader.readexactly(length_of(await reader.readexactly(4)))
        writer.write(pack(["welcome", "eu-west/agent", bytes(32)]))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(impostor, "127.0.0.1", port := free_port())
    async with server:
        with pytest.raises(HelloRefused, match="does not know this deployment's secret"):
            await open_channel(Address("127.0.0.1", port), SECRET, "us-east/agent", "echo")


async def test_a_heard_introduction_can_not_be_played_again() -> None:
    heard: list[bytes] = []
    async with serving({"echo": _echo}) as address:

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Stands in between and writes down what the client says."""
            inner, outer = await asyncio.open_connection(address.host, address.port)
            greeting = await inner.readexactly(4)
            writer.write(greeting + await inner.readexactly(length_of(greeting)))
            head = await reader.readexactly(4)
            heard.append(head + await reader.readexactly(length_of(head)))
            outer.write(heard[0])
            answer = await inner.readexactly(4)
            writer.write(answer + await inner.readexactly(length_of(answer)))
            await reader.read()
            writer.close()
            outer.close()

        between = await asyncio.start_server(listen, "127.0.0.1", port := free_port())
        async with between:
            async with await open_channel(Address("127.0.0.1", port), SECRET, "us-east/agent", "echo"):
                pass
            reader, writer = await asyncio.open_connection(address.host, address.port)
            await reader.readexactly(length_of(await reader.readexactly(4)))
            writer.write(heard[0])
            answer = unpack(await reader.readexactly(length_of(await reader.readexactly(4))))
            writer.close()
    assert answer == ("refused", "the other side does not know this deployment's secret")


async def test_bytes_that_are_no_frame_end_the_connection_alone() -> None:
    async with serving({"echo": _echo}) as address:
        for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", bytes(4) + b"\xc1", b"\0\0\0\1\xc1"):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            await reader.readexactly(length_of(await reader.readexactly(4)))
            writer.write(rubbish)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()
        async with await open_channel(address, SECRET, "us-east/agent", "echo") as channel:
            await channel.send("still there")
            assert await channel.receive() == "still there"


def test_a_message_that_is_too_large_is_refused_before_it_is_sent() -> None:
    with pytest.raises(FrameError, match="send it in parts"):
        pack(bytes(FRAME_LIMIT_BYTES + 1))


async def test_calls_overtake_each_other() -> None:
    release = asyncio.Event()

    async def slow(peer: str, body: Wire) -> Wire:
        await release.wait()
        return [peer, body]

    async def quick(peer: str, body: Wire) -> Wire:
        release.set()
        return body

    async with answering({"slow": slow, "quick": quick}) as (caller, _):
        first = asyncio.create_task(caller.call("slow", 1, 10))
        await asyncio.sleep(0)
        assert await caller.call("quick", b"2", 10) == b"2"
        assert await first == ("us-east/agent", 1)


async def test_errors_are_told_apart_by_what_may_have_happened() -> None:
    async def refuse(peer: str, body: Wire) -> Wire:
        raise Remote("minority", "two of three acceptors are silent")

    async def hang(peer: str, body: Wire) -> Wire:
        await asyncio.get_running_loop().create_future()
        return None

    async def fail(peer: str, body: Wire) -> Wire:
        raise ZeroDivisionError

    async with answering({"refuse": refuse, "hang": hang, "fail": fail}) as (caller, _):
        with pytest.raises(Remote, match="two of three") as refused:
            await caller.call("refuse", None, 10)
        assert refused.value.kind == "minority"
        with pytest.raises(Remote, match="is none of"):
            await caller.call("else", None, 10)
        with pytest.raises(CallLost, match=r"did not answer hang within 0\.05 s"):
            await caller.call("hang", None, 0.05)
        with pytest.raises(CallLost, match="was lost"):
            await caller.call("fail", None, 10)
        with pytest.raises(Remote):
            await caller.call("refuse", None, 10)  # on a connection of its own
    with pytest.raises(NotSent, match="can't be reached"):
        await caller.call("refuse", None, 1)


async def test_a_caller_finds_a_server_that_came_back() -> None:
    async def echo(peer: str, body: Wire) -> Wire:
        return body

    address = Address("127.0.0.1", free_port())
    caller = Caller(address, SECRET, "us-east/agent")
    for turn in range(3):
        async with await serve_channels(
            address, SECRET, "eu-west/agent", {"calls": Answerer({"echo": echo})}
        ):
            assert await caller.call("echo", turn, 10) == turn
        with pytest.raises((NotSent, CallLost)):
            await caller.call("echo", turn, 1)
    await caller.close()


async def test_what_is_sent_waits_for_a_reader_that_does_not_read() -> None:
    started = asyncio.Event()

    async def deaf(channel: Channel) -> None:
        started.set()
        await asyncio.get_running_loop().create_future()

    async with (
        serving({"deaf": deaf}) as address,
        await open_channel(address, SECRET, "us-east/agent", "deaf") as channel,
    ):
        await started.wait()

        async def flood() -> None:
            while True:
                await channel.send(bytes(2**20))

        flooding = asyncio.create_task(flood())
        done, _ = await asyncio.wait([flooding], timeout=0.5)
        assert not done, "it must not keep everything in memory"
        flooding.cancel()
    with pytest.raises(ChannelClosed):
        await channel.send("after the end")
