"""The backend `etcd`, for those who run one: its v3 API over the JSON gateway.

A register is a key, its version the key's modification revision. An operation's outcome is a key of its own, written
in the same transaction and kept by an etcd lease, so that a repetition finds it. A change that stands for several
raises the version as it comes, and nobody takes turns. (etcd's API reference, v3.5:
transactions with nested ones; reads are linearizable unless asked otherwise.)
"""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from atoll.clock import Clock
from atoll.state.strong.backend import (
    ABSENT,
    ANY,
    Change,
    Committed,
    Conflict,
    Deletion,
    Outcome,
    Unavailable,
    Unknown,
    Versioned,
)

REMEMBERED_S = 600
"""An operation's outcome is kept for so long at least, and twice as long at most."""
TIMEOUT_S = 5.0
_COMMITTED = b"committed"
_CONFLICT = b"conflict"
_NO_LEASE = 5
"""gRPC's NOT_FOUND: the lease has ended."""


class Etcd:
    """Registers in an etcd cluster. Close `client` after the last use; its base URL and credentials are the caller's.

    `endpoints` are asked in turn until one answers.
    """

    def __init__(
        self, client: httpx.AsyncClient, endpoints: Sequence[str], clock: Clock, prefix: str = "atoll"
    ) -> None:
        if not endpoints:
            raise ValueError("etcd needs an endpoint, as http://127.0.0.1:2379")
        self._client = client
        self._endpoints = tuple(endpoint.rstrip("/") for endpoint in endpoints)
        self._clock = clock
        self._prefix = prefix
        self._lease = ""
        self._lease_from = 0.0

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        request = {"key": _text(self._key(namespace, key))}
        try:
            async with asyncio.timeout(TIMEOUT_S if timeout_s is None else timeout_s):
                found = await self._ask("/v3/kv/range", request)
        except (Unknown, TimeoutError) as error:
            raise Unavailable(
                f"etcd gave no answer for {namespace}/{key}: {str(error) or 'too slow'}"
            ) from error
        return _versioned(found)

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        sent = False
        try:
            async with asyncio.timeout(TIMEOUT_S if timeout_s is None else timeout_s):
                await self._keep_lease()
                sent = True
                answer = await self._ask("/v3/kv/txn", self._transaction(namespace, key, change))
        except TimeoutError:
            why = f"etcd gave no answer for {namespace}/{key} in time"
            if sent:
                raise Unknown(f"{why}; repeat the change with the same operation id") from None
            raise Unavailable(f"{why}; nothing was done") from None
        return _outcome(answer)

    def _transaction(self, namespace: str, key: str, change: Change) -> Mapping[str, Any]:
        """If the operation is new: if the key is as expected, write it; remember which of the two it was."""
        name = _text(self._key(namespace, key))
        operation = _text(f"{self._prefix}/operation/{namespace}/{change.operation_id}/{key}")
        write: Mapping[str, Any]
        if isinstance(change.value, Deletion):
            write = {"request_delete_range": {"key": name}}
        else:
            write = {"request_put": {"key": name, "value": _encoded(change.value)}}
        read = {"request_range": {"key": name}}

        def remember(outcome: bytes) -> Mapping[str, Any]:
            return {"request_put": {"key": operation, "value": _encoded(outcome), "lease": self._lease}}

        attempt = {
            "compare": _compare(name, change),
            "success": [write, remember(_COMMITTED)],
            "failure": [read, remember(_CONFLICT)],
        }
        return {
            "compare": [{"key": operation, "target": "VERSION", "version": "0"}],
            "success": [{"request_txn": attempt}],
            "failure": [{"request_range": {"key": operation}}, read],
        }

    async def _keep_lease(self) -> None:
        """A lease that will last for `REMEMBERED_S`."""
        now = self._clock.monotonic()
        if self._lease and now - self._lease_from < REMEMBERED_S:
            return
        try:
            granted = await self._ask("/v3/lease/grant", {"TTL": str(2 * REMEMBERED_S)})
        except Unknown as error:
            # A lease that nobody uses ends by itself.
            raise Unavailable(str(error)) from error
        self._lease, self._lease_from = str(granted["ID"]), now

    async def _ask(self, path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The first endpoint's answer that is one. Raises `Unavailable` and `Unknown`."""
        unknown: Unknown | None = None
        failure: Unavailable | None = None
        for endpoint in self._endpoints:
            try:
                return await self._ask_one(endpoint, path, request)
            except Unknown as error:
                unknown = error
            except Unavailable as error:
                failure = error
        raise unknown or failure or Unavailable("etcd has no endpoints")

    async def _ask_one(self, endpoint: str, path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            response = await self._client.post(endpoint + path, json=request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(f"etcd at {endpoint} can't be reached: {error}. Nothing was done") from error
        except httpx.TransportError as error:
            raise Unknown(
                f"the connection to etcd at {endpoint} broke: {error!r}. Repeat with the same operation id"
            ) from error
        try:
            answer = response.json()
        except json.JSONDecodeError:
            answer = None
        if response.is_success and isinstance(answer, dict):
            return answer
        why = f"etcd at {endpoint} answered {response.status_code}: {response.text[:200]}"
        if isinstance(answer, dict) and answer.get("code") == _NO_LEASE:
            self._lease = ""
            raise Unavailable(f"{why}. Nothing was done; try again")
        if response.is_client_error:
            raise Unavailable(f"{why}. Nothing was done; look at the endpoint and the credentials")
        raise Unknown(f"{why}. Repeat with the same operation id")

    def _key(self, namespace: str, key: str) -> str:
        return f"{self._prefix}/value/{namespace}/{key}"


def _compare(name: str, change: Change) -> list[Mapping[str, Any]]:
    if change.expect is ANY:
        return []
    if change.expect is ABSENT:
        return [{"key": name, "target": "VERSION", "version": "0"}]
    return [{"key": name, "target": "MOD", "mod_revision": str(change.expect)}]


def _outcome(answer: Mapping[str, Any]) -> Outcome:
    responses = answer["responses"]
    if answer.get("succeeded", False):
        tried = responses[0]["response_txn"]
        if tried.get("succeeded", False):
            return Committed(int(answer["header"]["revision"]))
        return Conflict(_versioned(tried["responses"][0]["response_range"]))
    done = _versioned(responses[0]["response_range"])
    assert done is not None
    if done.value == _COMMITTED:
        return Committed(done.version)
    return Conflict(_versioned(responses[1]["response_range"]))


def _versioned(found: Mapping[str, Any]) -> Versioned | None:
    """The gateway leaves out what is empty: no `kvs` for no key, no `value` for an empty one."""
    for entry in found.get("kvs", []):
        return Versioned(int(entry["mod_revision"]), base64.b64decode(entry.get("value", "")))
    return None


def _text(key: str) -> str:
    return _encoded(key.encode())


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()
