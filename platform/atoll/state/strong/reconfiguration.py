"""Founding an acceptor set, and changing it by one member at a time.

Every step may be repeated, by anybody: who dies in between is followed by whoever calls `finish`. The steps and why
they are safe stand in `membership`.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping

from atoll.state.strong.backend import ABSENT, Change, Conflict, Expect, Unavailable, Unknown
from atoll.state.strong.membership import (
    Configuration,
    Member,
    Membership,
    MembershipError,
    found,
    parse,
    parse_membership,
    register_of,
)
from atoll.state.strong.messages import (
    Configure,
    Configured,
    Describe,
    Description,
    List,
    Listed,
    Register,
    Reply,
    Request,
    Stale,
)
from atoll.state.strong.registers import Acceptors, Registers, Unreachable

PAGE = 500
"""Keys that an acceptor lists at a time."""
REWRITES = 32
"""Registers that are rewritten side by side."""
AGAIN_S = 0.2
"""Before a register is tried again that found no majority."""
PATIENCE_S = 30.0
"""Then the whole change is given up for now. Until then faults that come and go don't send it back to its begin."""


class Reconfiguration:
    """The acceptor set of one namespace, as an operator or an agent changes it. Keeps nothing between calls.

    Its methods raise `MembershipError` for what must not be, `Unavailable` and `Unknown` as operations do; after each
    of these `finish` brings what was begun to its end.
    """

    def __init__(self, namespace: str, registers: Registers, acceptors: Acceptors) -> None:
        self._namespace = namespace
        self._registers = registers
        self._acceptors = acceptors

    async def describe(self, regions: Iterable[str]) -> Mapping[str, Description]:
        """What the acceptors of these regions say of themselves; those that don't answer are left out."""
        request = Request(self._namespace, 0, "", Describe())
        asked = tuple(regions)
        replies = await asyncio.gather(*(self._try(region, request) for region in asked))
        return {
            region: reply
            for region, reply in zip(asked, replies, strict=True)
            if isinstance(reply, Description)
        }

    async def learn(self, regions: Iterable[str]) -> Configuration | None:
        """Adopts the newest acceptor set that these regions' acceptors go by; None if they go by none.

        An agent calls it at its start, and when its set doesn't answer any more.
        """
        newest = _newest((await self.describe(regions)).values())
        if newest is None or not newest.founded:
            return None
        self._registers.adopt(newest)
        return newest

    async def found(self, regions: Iterable[str]) -> Configuration:
        """Founds the acceptor set in these 3 or 5 regions, or finds that there is one, and adopts it.

        All of them have to answer and to take it over, so that no two founders who saw different stores can both
        succeed. Raises `Unavailable` if one doesn't.
        """
        chosen = tuple(regions)
        described = await self.describe(chosen)
        configuration = _newest(described.values())
        if configuration is None:
            members = []
            for region in chosen:
                description = described.get(region)
                if description is None or description.identity is None:
                    raise self._unfounded(
                        f"{region} does not answer, and the first set needs all of its regions"
                    )
                members.append(Member(region, description.identity))
            configuration = found(self._namespace, members)
        if not configuration.founded:
            told = await self._tell(configuration, configuration.members)
            if len(told) < len(configuration.members):
                raise self._unfounded(f"only {_names(told)} took the set over, and all have to")
            configuration = configuration.confirmed()
            told = await self._tell(configuration, configuration.members)
            if len(told) < configuration.majority:
                raise self._unfounded(f"only {_names(told)} heard that all have taken it over")
        self._registers.adopt(configuration)
        return configuration

    def _unfounded(self, why: str) -> Unavailable:
        return Unavailable(
            f"the acceptors of {self._namespace} can't be founded: {why}; try again when they all answer"
        )

    async def membership(self) -> Membership:
        """The acceptor set as its register has it."""
        return (await self._read())[0]

    async def join(self, member: Member) -> Configuration:
        """Lets an acceptor join; returns when it is up to date. It must answer: `describe` tells its identity."""
        return await self._change(lambda configuration: configuration.joined(member))

    async def leave(self, member: Member) -> Configuration:
        """Lets an acceptor leave, dead or alive."""
        return await self._change(lambda configuration: configuration.left(member))

    async def finish(self) -> Configuration:
        """Brings a change that is under way to its end, whoever began it; returns the set in force."""
        membership, version = await self._read()
        configuration, previous = membership.configuration, membership.previous
        self._registers.adopt(configuration)
        if previous is None:
            return configuration
        await self._fence(previous, configuration)
        await self._rescan(previous, configuration)
        await self._write(Membership(configuration, None), version)
        return configuration

    async def _change(self, step: Callable[[Configuration], Configuration]) -> Configuration:
        membership, version = await self._read()
        following = membership.next(step(membership.configuration))
        await self._write(following, version)
        return await self.finish()

    async def _read(self) -> tuple[Membership, int | Expect]:
        register = register_of(self._namespace)
        answer = await self._registers.operate(self._namespace, register)
        if answer.value is None:
            return Membership(self._registers.configuration(self._namespace), None), ABSENT
        return parse_membership(answer.value.value), answer.value.version

    async def _write(self, membership: Membership, version: int | Expect) -> None:
        # The content as the operation id: who repeats the step after an unknown outcome gets the first one's.
        configuration = membership.configuration
        members = ",".join(member.identity for member in configuration.members)
        text = f"{configuration.epoch}/{membership.settled}/{members}"
        operation = hashlib.sha256(text.encode()).hexdigest()[:32]
        change = Change(version, membership.encode(), operation)
        answer = await self._registers.operate(self._namespace, register_of(self._namespace), change)
        if isinstance(answer.outcome, Conflict):
            now = answer.value
            if now is None or parse_membership(now.value) != membership:
                raise MembershipError(
                    f"somebody else changes the acceptors of {self._namespace}; look at the set and try again"
                )

    async def _fence(self, previous: Configuration, configuration: Configuration) -> None:
        """From its return on the previous configuration completes nothing."""
        told = await self._tell(configuration, {*previous.members, *configuration.members})
        fenced = [member for member in previous.members if member in told]
        joining = set(configuration.members) - set(previous.members)
        if len(fenced) < previous.majority or not joining <= set(told):
            raise Unavailable(
                f"the acceptors of {self._namespace} are being changed (epoch {configuration.epoch}), and only "
                f"{_names(told)} could be told; finish the change when a majority and who joins can be reached"
            )

    async def _rescan(self, previous: Configuration, configuration: Configuration) -> None:
        """Rewrites every register that the previous configuration may have chosen a value for."""
        registers = {register_of(self._namespace)}
        complete = 0
        for member in previous.members:
            keys = await self._keys(member, configuration)
            if keys is not None:
                complete += 1
                registers.update(Register(self._namespace, key) for key in keys)
        if complete < previous.majority:
            raise Unavailable(
                f"the acceptors of {self._namespace} are being changed (epoch {configuration.epoch}), and only "
                f"{complete} of {len(previous.members)} could list their keys; finish the change when a majority can"
            )
        limit = asyncio.Semaphore(REWRITES)
        until = asyncio.get_running_loop().time() + PATIENCE_S

        async def rewrite(register: Register) -> None:
            async with limit:
                while True:
                    try:
                        await self._registers.operate(self._namespace, register, rewrite=True)
                    except (Unavailable, Unknown):
                        # What was rewritten need not be once more, so the next try comes here and not from the begin.
                        if asyncio.get_running_loop().time() > until:
                            raise
                        await asyncio.sleep(AGAIN_S)
                    else:
                        return

        done = await asyncio.gather(*map(rewrite, sorted(registers)), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error

    async def _keys(self, member: Member, configuration: Configuration) -> list[str] | None:
        """All keys that a member knows; None if it doesn't answer to the end."""
        keys: list[str] = []
        while True:
            after = keys[-1] if keys else ""
            request = Request(self._namespace, configuration.epoch, member.identity, List(after, PAGE))
            reply = await self._try(member.region, request)
            if not isinstance(reply, Listed):
                return None
            keys.extend(reply.keys)
            if len(reply.keys) < PAGE:
                return keys

    async def _tell(self, configuration: Configuration, members: Iterable[Member]) -> list[Member]:
        """Those that go by this configuration now, or by a later one."""
        asked = sorted(members)
        body = Configure(configuration.encode())
        replies = await asyncio.gather(
            *(
                self._try(member.region, Request(self._namespace, configuration.epoch, member.identity, body))
                for member in asked
            )
        )
        return [
            member
            for member, reply in zip(asked, replies, strict=True)
            if isinstance(reply, Configured | Stale)
        ]

    async def _try(self, region: str, request: Request) -> Reply | None:
        try:
            return await self._acceptors.ask(region, request)
        except Unreachable:
            return None


def _newest(descriptions: Iterable[Description]) -> Configuration | None:
    configurations = [
        parse(description.configuration)
        for description in descriptions
        if description.configuration is not None
    ]
    return max(configurations, key=lambda configuration: configuration.epoch, default=None)


def _names(members: Iterable[Member]) -> str:
    return ", ".join(str(member) for member in members) or "nobody"
