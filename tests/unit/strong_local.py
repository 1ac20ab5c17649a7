"""Strong registers within one process, and the battery that every backend of them has to pass."""

from collections.abc import Mapping
from random import Random

from atoll.state.strong.acceptor import Acceptor
from atoll.state.strong.backend import (
    ABSENT,
    ANY,
    DELETE,
    Change,
    Committed,
    Conflict,
    StrongBackend,
    Versioned,
)
from atoll.state.strong.membership import Configuration, Member
from atoll.state.strong.messages import Reply, Request
from atoll.state.strong.reconfiguration import Reconfiguration
from atoll.state.strong.registers import Registers, RegistersPolicy, Unreachable

NAMESPACE = "stock"
QUICK = RegistersPolicy(timeout_s=1.0, round_s=0.2, backoff_s=0.001, backoff_cap_s=0.01)


class Local:
    """Acceptors at hand; those in `down` don't answer. Counts what is asked of them."""

    def __init__(self, regions: int = 3) -> None:
        self.acceptors: Mapping[str, Acceptor] = {f"r{number}": Acceptor() for number in range(regions)}
        self.down: set[str] = set()
        self.deaf: set[str] = set()
        """These do what is asked, and their answers get lost."""
        self.asked: list[tuple[str, Request]] = []
        for region, acceptor in self.acceptors.items():
            acceptor.open(f"store-of-{region}")

    async def ask(self, region: str, request: Request) -> Reply:
        self.asked.append((region, request))
        if region in self.down:
            raise Unreachable("connection refused")
        reply = self.acceptors[region].answer(request)
        if region in self.deaf:
            raise Unreachable("no answer")
        return reply

    def member(self, region: str) -> Member:
        identity = self.acceptors[region].identity
        assert identity is not None
        return Member(region, identity)

    def registers(self, proposer: str, configuration: Configuration | None = None) -> Registers:
        registers = Registers(self, proposer, Random(proposer), QUICK)
        if configuration is not None:
            registers.adopt(configuration)
        return registers

    async def founded(self, proposer: str, regions: int = 3) -> Registers:
        registers = self.registers(proposer)
        await Reconfiguration(NAMESPACE, registers, self).found([f"r{number}" for number in range(regions)])
        return registers


async def battery(backend: StrongBackend, namespace: str = NAMESPACE) -> None:
    """What every backend has to do, on keys of its own."""
    await _changes(backend, namespace)
    await _repeats(backend, namespace)


async def _changes(backend: StrongBackend, namespace: str) -> None:
    key = "battery/ä key|with: anything\n"
    assert await backend.get(namespace, key) is None
    assert await backend.change(namespace, key, Change(7, b"x", "a0")) == Conflict(None)
    first = await backend.change(namespace, key, Change(ABSENT, b"\x00one\xff", "a1"))
    assert isinstance(first, Committed)
    found = Versioned(first.version, b"\x00one\xff")
    assert await backend.get(namespace, key) == found
    assert await backend.change(namespace, key, Change(ABSENT, b"two", "a2")) == Conflict(found)
    second = await backend.change(namespace, key, Change(first.version, b"", "a3"))
    assert isinstance(second, Committed) and second.version > first.version
    assert await backend.get(namespace, key) == Versioned(second.version, b"")
    assert await backend.change(namespace, key, Change(first.version, b"late", "a4")) == Conflict(
        Versioned(second.version, b"")
    )
    third = await backend.change(namespace, key, Change(ANY, b"three", "a5"))
    assert isinstance(third, Committed) and third.version > second.version
    gone = await backend.change(namespace, key, Change(third.version, DELETE, "a6"))
    assert isinstance(gone, Committed) and gone.version > third.version
    assert await backend.get(namespace, key) is None
    assert await backend.change(namespace, key, Change(gone.version, b"x", "a7")) == Conflict(None)
    again = await backend.change(namespace, key, Change(ABSENT, b"again", "a8"))
    assert isinstance(again, Committed) and again.version > gone.version
    assert await backend.get(namespace, "battery/another") is None


async def _repeats(backend: StrongBackend, namespace: str) -> None:
    """A change that comes again gets its first outcome, whatever has happened since."""
    key = "battery/repeated"
    change = Change(ABSENT, b"once", "b1")
    first = await backend.change(namespace, key, change)
    assert isinstance(first, Committed)
    assert await backend.change(namespace, key, change) == first
    refused = Change(ABSENT, b"refused", "b2")
    assert isinstance(await backend.change(namespace, key, refused), Conflict)
    gone = await backend.change(namespace, key, Change(ANY, DELETE, "b3"))
    assert isinstance(gone, Committed) and gone.version > first.version
    assert await backend.change(namespace, key, change) == first
    assert await backend.get(namespace, key) is None
    # It would be as expected now; but its client was told that it was refused.
    assert await backend.change(namespace, key, refused) == Conflict(None)
    assert await backend.get(namespace, key) is None
