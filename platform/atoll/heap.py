"""Python's garbage collector in processes that others wait for."""

import gc

YOUNG = 20_000
"""Objects that may come before the young ones are looked at; Python begins with 700."""


def settle_heap() -> None:
    """Has the collector look at what work leaves, and no more at what was there before it. Called when a process is up.

    Requests and operations leave next to no cycles, but each full collection walks through some 100,000 objects of
    modules and took up to 50 ms, which everything under way had to wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 100)
