"""Tells systemd how this process is: the protocol of sd_notify(3), one datagram a message.

Outside a unit of ``Type=notify`` there is nobody to tell, and nothing is done.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Whoever waits for this process, if anybody does."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Takes ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` of what this process was started with."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # Linux's abstract sockets begin with a zero byte
            self._address = "\0" + self._address[1:]
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = environment.get("WATCHDOG_USEC", "")
        self._watchdog_s = int(interval) / 2_000_000 if meant and interval.isdigit() else 0.0

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._tell(f"STATUS={status}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    async def keep_alive(self) -> None:
        """As long as this runs, and so as long as the event loop turns, the watchdog is told twice in its time.

        Returns at once if there is none.
        """
        while self._watchdog_s > 0:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s)

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as there:
                there.setblocking(False)  # noqa: FBT003  whoever doesn't listen must not hold this process up
                there.connect(self._address)
                there.sendall(message.encode())
        except OSError as error:
            log.warning("systemd can't be told", extra={"message_": message, "reason": str(error)})
