"""Replicated state: what a service author uses (`from atoll import state`), and what stands behind it.

    carts = state.namespace("carts")                        # level eventual or session: local, and merged everywhere
    await carts.map("cart-7").set("sku-1", 2)
    stock = state.strong("stock", model=int)                # level strong: one truth, at the price of round trips
    await stock.update("sku-1", lambda left: (left or 0) - 1)

What each level promises, and in which fault, stands in `README.md` beside this file.
"""

from atoll.state.errors import StateError, StoreFull, StoreRefused, StoreUnavailable
from atoll.state.sdk.admission import RegionIncomplete
from atoll.state.sdk.background import background
from atoll.state.sdk.namespace import Namespace, namespace
from atoll.state.sdk.objects import Counter, Map, Register, Set
from atoll.state.sdk.regional import NotRemote, RegionBehind, Staleness, UnknownNamespace
from atoll.state.sdk.scope import NoState
from atoll.state.sdk.strong import Changed, Found, Lease, LeaseLost, Strong, Unavailable, Unknown, strong
from atoll.state.values import UnreadableValue, UnwritableValue

__all__ = [
    "Changed",
    "Counter",
    "Found",
    "Lease",
    "LeaseLost",
    "Map",
    "Namespace",
    "NoState",
    "NotRemote",
    "RegionBehind",
    "RegionIncomplete",
    "Register",
    "Set",
    "Staleness",
    "StateError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "Strong",
    "Unavailable",
    "Unknown",
    "UnknownNamespace",
    "UnreadableValue",
    "UnwritableValue",
    "background",
    "namespace",
    "strong",
]
