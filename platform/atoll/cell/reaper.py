"""Who is whose child on Linux: adopt what loses its parent, end with the parent, bury the dead."""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable

from atoll.cell.processes import require_linux, zombie_children

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """From now on, a descendant that loses its parent becomes a child of this process, not of init.

    So daemons that a starter leaves behind, as ``ray start`` does, stay in this process's care. Whoever calls
    this must also run `reap_adopted`. Raises `UnsupportedPlatformError`, `OSError`.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """A `preexec_fn`: the child gets this signal when its parent dies, however it dies.

    The kernel ties it to the *thread* that starts the child: start it from a thread that lasts as long as the
    process (the main thread). Children of the child are not covered.
    """
    require_linux()
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)  # loaded here: little is safe between fork and exec

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before the tie was made
            os._exit(128 + int(number))

    return tie


async def reap_adopted(patience_s: float = 1.0) -> None:
    """Runs until cancelled: reads the status of ended children that nobody else waits for.

    A child is left alone for `patience_s` seconds first, so that its owner (asyncio, for those it started)
    gets the exit status. Takes over the loop's SIGCHLD handler.
    """
    loop = asyncio.get_running_loop()
    child_ended = asyncio.Event()
    child_ended.set()  # some may have ended before
    loop.add_signal_handler(signal.SIGCHLD, child_ended.set)
    try:
        while True:
            await child_ended.wait()
            child_ended.clear()
            waiting = zombie_children()
            await asyncio.sleep(patience_s)
            for identity in waiting & zombie_children():
                with contextlib.suppress(ChildProcessError):  # the owner was quicker after all
                    os.waitpid(identity.pid, os.WNOHANG)  # noqa: ASYNC222  it has ended: no wait
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)


def _prctl(option: int, argument: int) -> None:
    require_linux()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}) failed: {os.strerror(number)}")
