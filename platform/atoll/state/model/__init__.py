"""A model of the state store in plain Python: the same operations, answers and bytes as the Valkey function library.

The simulator runs on it, and differential tests compare the library with it. No I/O: time comes from a clock.
"""

from atoll.state.model.asynchronous import AsyncModelStore
from atoll.state.model.store import ModelStore, Snapshot

__all__ = ["AsyncModelStore", "ModelStore", "Snapshot"]
