"""Asks a gateway's admin listener."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from atoll.cli.exits import CommandError

TIMEOUT_S = 5.0


def ask(admin_urls: Sequence[str], path: str, parameters: Mapping[str, str], token_file: Path) -> bytes:
    """The body of a GET that the first gateway that can be reached answered with 200.

    Raises `CommandError` if none can be reached, or with what the gateway says if it answers otherwise.
    """
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CommandError(f"can't read the admin token {token_file}: {error.strerror}") from error
    headers = {"Authorization": f"Bearer {token}"}
    silent: list[str] = []
    # Loopback is asked directly, whatever proxy the environment names.
    with httpx.Client(trust_env=False, timeout=TIMEOUT_S, headers=headers) as client:
        for url in admin_urls:
            try:
                response = client.get(url + path, params=dict(parameters))
            except httpx.HTTPError as error:
                silent.append(f"the gateway at {url} doesn't answer ({error})")
                continue
            if response.status_code != httpx.codes.OK:
                raise CommandError(f"the gateway at {url} says: {_detail(response)}")
            return response.content
    raise CommandError(f"{'; '.join(silent)}; see `atoll status` for what is down")


def _detail(response: httpx.Response) -> str:
    """What a problem document says, or the status."""
    try:
        document = response.json()
    except ValueError:
        document = None
    match document:
        case {"detail": str(detail)}:
            return detail
        case {"title": str(title)}:
            return title
    return f"{response.status_code} {response.reason_phrase}"
