"""The shop's keeper, who counts the stock and writes prices before customers come."""

import json
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from loadtests.users import goods
from loadtests.users.client import Connection, NoAnswer, Origin

AT_ONCE = 4
TRIES, AGAIN_S = 30, 1.0
"""The registers of a run that has just begun are still being founded."""
PATIENCE_S = 10.0


class NotStocked(Exception):
    """The shop can't be opened; says what was refused, and what to do."""


@dataclass(frozen=True, slots=True)
class Chore:
    """One thing to write."""

    path: str
    body: bytes


def chores(services: Collection[str], sale_stock: int) -> list[Chore]:
    """What there is to do: nothing where nothing can be bought."""
    if "checkout" not in services:
        return []
    wanted = goods.stock(sale_stock)
    prices = [_chore(f"/catalog/postcards/{sku}/price", cents=goods.PRICE_CENTS) for sku in wanted]
    counts = [_chore(f"/inventory/{sku}", on_hand=count) for sku, count in wanted.items()]
    return (prices if "catalog" in services else []) + (counts if "inventory" in services else [])


def open_shop(entry: Origin, services: Collection[str], sale_stock: int) -> None:
    """Writes everything, and again what failed. Raises `NotStocked`."""
    with ThreadPoolExecutor(AT_ONCE) as workers:
        problems = [
            problem
            for problem in workers.map(lambda chore: _do(entry, chore), chores(services, sale_stock))
            if problem
        ]
    if problems:
        raise NotStocked(
            f"the shop at {entry.authority} can't be stocked: {problems[0]}. Look at `atoll status`, or leave out the "
            "services that sell: --services catalog,quote"
        )


def _do(entry: Origin, chore: Chore) -> str:
    """What is wrong in the end; empty if it is done."""
    problem = _try(entry, chore)
    for _ in range(TRIES - 1):
        if not problem:
            break
        time.sleep(AGAIN_S)
        problem = _try(entry, chore)
    return problem


def _try(entry: Origin, chore: Chore) -> str:
    connection = Connection(entry)
    head = (
        f"PUT {chore.path} HTTP/1.1\r\nhost: {entry.authority}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(chore.body)}\r\n\r\n"
    )
    try:
        response = connection.ask(head.encode() + chore.body, PATIENCE_S)
    except NoAnswer as failure:
        return f"PUT {chore.path}: {failure.word}"
    finally:
        connection.close()
    return "" if response.status < 400 else f"PUT {chore.path}: {response.status} {response.body[:200]!r}"


def _chore(path: str, **content: int) -> Chore:
    return Chore(path, json.dumps(content).encode())
