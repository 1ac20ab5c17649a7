"""Answers other regions' gateways about the keys that have their home here. Behind the peer listener alone."""

from collections.abc import Callable

from atoll_gateway import problems
from atoll_gateway.answering import send_problem, send_whole
from atoll_gateway.http.exchange import ClientGone, Receive, Scope, Send
from atoll_gateway.http.problem import Problem
from atoll_gateway.keys.contract import Keys, KeysUnavailable
from atoll_gateway.keys.wire import CLAIM, PATH, SETTLE, Order, Report, read_order, write_report

ORDER_BYTES = 256 * 1024
"""Longest order: a kept answer with its headers, and some."""


class KeyDesk:
    """Carries out orders on the own region's records. `allows` says whether a service's keys may be kept here."""

    def __init__(self, keys: Keys | None, allows: Callable[[str], bool]) -> None:
        self._keys = keys
        self._allows = allows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            content = await self._carry_out(scope["raw_path"][len(PATH) :], await _all(receive))
        except _Refused as refused:
            await send_problem(send, refused.problem)
        except KeysUnavailable as error:
            await send_problem(send, problems.keys_unavailable(str(error), 500 if error.sent else 503))
        else:
            await send_whole(send, 200, b"application/octet-stream", content)

    async def _carry_out(self, name: bytes, content: bytes) -> bytes:
        try:
            order, answer = read_order(content)
        except ValueError as error:
            raise _Refused(problems.bad_order(str(error))) from error
        if not self._allows(order.claim.service):
            raise _Refused(problems.keys_not_here(order.claim.service))
        if self._keys is None:
            raise KeysUnavailable("this gateway has no state store", sent=False)
        return await _done(self._keys, name, order, answer)


class _Refused(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


async def _done(keys: Keys, name: bytes, order: Order, answer: bytes) -> bytes:
    if name == CLAIM:
        claimed = await keys.claim(order.claim)
        return write_report(Report(standing=claimed.standing), claimed.answer)
    if name == SETTLE and order.settlement is not None:
        return write_report(Report(settled=await keys.settle(order.claim, order.settlement, answer)))
    raise _Refused(problems.bad_order(f"there is no order {name.decode('latin-1')!r}"))


async def _all(receive: Receive) -> bytes:
    """The whole body: part of an answer is none."""
    content = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the gateway went away before its order was complete")
        content += message.get("body", b"")
        more = message.get("more_body", False)
        if len(content) > ORDER_BYTES:
            raise _Refused(problems.bad_order(f"it is longer than {ORDER_BYTES} bytes"))
    return bytes(content)
