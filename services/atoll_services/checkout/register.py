"""Changing a strong register that few others change: no read before the first try."""

from collections.abc import Callable
from typing import TypeVar

from atoll import state

T = TypeVar("T")


async def change(
    registers: state.Strong[T], key: str, seen: state.Found[T] | None, to: Callable[[T | None], T]
) -> state.Found[T]:
    """Makes the value ``to(value)``, beginning with what was seen last; None stands for no value.

    Costs one operation if the register is still as it was seen, and none if `to` returns the same value. `to` is called
    once for each try; what it raises ends the change, and nothing is changed.
    """
    while True:
        value = to(None if seen is None else seen.value)
        if seen is not None and value == seen.value:
            return seen
        try:
            if seen is None:
                return state.Found(value, await registers.create(key, value))
            return state.Found(value, await registers.compare_and_set(key, seen.version, value))
        except state.Changed as changed:
            seen = changed.current
