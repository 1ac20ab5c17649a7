"""Ports that tests are given: never one that another process was given, while it lives."""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from tests.integration.ports import BLOCK, free_base, free_port

ROOT = Path(__file__).parents[2]
ANOTHER = """
import sys
from tests.integration.ports import free_base, free_port
print(free_port(), free_base(2), flush=True)
sys.stdin.read()
"""


async def another() -> tuple[Process, int, int]:
    """Another process of tests, a port and a base that it was given and listens nowhere on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ANOTHER, cwd=ROOT, stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    port, base = (await process.stdout.readline()).split()
    return process, int(port), int(base)


def of_base(base: int, blocks: int) -> set[int]:
    return set(range(base, base + blocks * BLOCK, BLOCK))


async def test_nobody_is_given_what_another_process_has() -> None:
    others = [await another() for _ in range(3)]
    try:
        given: set[int] = set()
        for _, port, base in others:
            blocks = of_base(base, 2) | {port - port % BLOCK}
            assert len(blocks) == 3 and not given & blocks
            given |= blocks
        assert all(not given & of_base(free_base(2), 2) for _ in range(20))
        port = free_port()
        assert port - port % BLOCK not in given
    finally:
        for process, _, _ in others:
            process.kill()
            await process.wait()


def test_a_port_that_somebody_listens_on_is_not_given_out() -> None:
    base = free_base(2)
    with socket.create_server(("127.0.0.1", base + BLOCK + 7)):
        assert base + BLOCK not in of_base(free_base(2), 2)
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert all(free_port() != server.getsockname()[1] for _ in range(2 * BLOCK))
