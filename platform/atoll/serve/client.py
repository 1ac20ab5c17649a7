"""Ray Serve's REST interface, on the port of the cluster's dashboard."""

from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from pydantic import ValidationError

from atoll.serve.document import APPLICATION_SET, ApplicationSet
from atoll.serve.status import SERVE_STATUS, ServeStatus
from atoll.topology.wiring import ServeAccess

APPLICATIONS = "/api/serve/applications/"
HEALTH = "/api/gcs_healthz"

STATUS_TIMEOUT_S = 5.0
"""For reading: it takes 10-20 ms, but up to a minute while the dashboard waits for a dead GCS."""
CHANGE_TIMEOUT_S = 90.0
"""For changing: the first set starts Serve (12 s on two cores), and removing it waits until replicas have drained."""
DETAIL_CHARACTERS = 4000


class ServeError(Exception):
    """Serve's REST interface did not do what was asked."""


class Unreachable(ServeError):
    """Nothing answered in time. Whether a change was taken up is unknown; sending it again does no harm."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"Ray's dashboard at {url} does not answer ({reason}); is the region's Ray head running?"
        )
        self.url = url
        self.reason = reason


class Refused(ServeError):
    """It answered, and not with success: nothing was changed."""

    def __init__(self, url: str, status: int, detail: str) -> None:
        hint = "; is this the token of that cluster?" if status in {401, 403} else ""
        super().__init__(f"Ray's dashboard at {url} answered {status}: {detail}{hint}")
        self.url = url
        self.status = status
        self.detail = detail


class NotUnderstood(ServeError):
    """It answered with success, but with something that this version of Atoll can't read."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"what Ray's dashboard at {url} says is no Serve status: {reason}; Atoll knows Ray 2.60"
        )
        self.url = url
        self.reason = reason


class TokenUnreadable(ServeError):
    """There is no token to talk to the cluster with."""


def read_token(path: Path) -> str:
    """Ray's authentication token from its file. Raises `TokenUnreadable`."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnreadable(f"Ray's token can't be read from {path}: {error}") from error
    if not token:
        raise TokenUnreadable(f"{path} is empty, but should hold Ray's token")
    return token


class ServeClient:
    """Talks to one cluster's Serve. Use it as a context manager, or close it.

    Proxies that the environment names are not used, and nothing of a client's request is ever passed on: Ray's
    dashboard treats a browser's headers as an attack.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        status_timeout_s: float = STATUS_TIMEOUT_S,
        change_timeout_s: float = CHANGE_TIMEOUT_S,
    ) -> None:
        self._base_url = base_url
        self._status_timeout_s = status_timeout_s
        self._change_timeout_s = change_timeout_s
        self._http = httpx.AsyncClient(
            base_url=base_url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
        )

    @classmethod
    def of(cls, access: ServeAccess) -> Self:
        """A client as the wiring says. Raises `TokenUnreadable`."""
        return cls(access.dashboard.url, read_token(access.token_file))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def applications(self) -> ServeStatus:
        """What runs. Raises `Unreachable`, `Refused` or `NotUnderstood`."""
        response = await self._send("GET", APPLICATIONS, self._status_timeout_s)
        try:
            return SERVE_STATUS.validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise NotUnderstood(self._base_url, f"{where}: {first['msg']}") from error

    async def put(self, wanted: ApplicationSet) -> None:
        """Makes this the full set; applications that are not in it are removed. Returns when Serve has taken it up,
        which is long before it runs. Raises `Unreachable` or `Refused`.
        """
        await self._send("PUT", APPLICATIONS, self._change_timeout_s, APPLICATION_SET.dump_json(wanted))

    async def delete_all(self) -> None:
        """Removes every application and stops Serve, after replicas have drained. Raises `Unreachable` or `Refused`."""
        await self._send("DELETE", APPLICATIONS, self._change_timeout_s)

    async def healthy(self) -> bool:
        """Whether the dashboard answers and finds the cluster's GCS alive. Needs no token."""
        try:
            response = await self._send("GET", HEALTH, self._status_timeout_s)
        except (Unreachable, Refused):
            return False
        return response.text.strip() == "success"

    async def _send(
        self, method: str, path: str, timeout_s: float, body: bytes | None = None
    ) -> httpx.Response:
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            response = await self._http.request(
                method, path, content=body, headers=headers, timeout=timeout_s
            )
        except httpx.RequestError as error:
            raise Unreachable(self._base_url, str(error) or type(error).__name__) from error
        if not response.is_success:
            raise Refused(self._base_url, response.status_code, response.text.strip()[:DETAIL_CHARACTERS])
        return response
