"""The first words on a connection. Pure.

    server  ["atoll", [versions it speaks], nonce]
    client  ["hello", version, name, purpose, nonce, proof]
    server  ["welcome", name, proof]                          or  ["refused", reason]

Both prove that they know the deployment's secret: HMAC-SHA-256 over their role, both nonces and what the client says
of itself (challenge and response as in RFC 5802, without its passwords). So neither can be played by someone who has
heard an earlier connection; what is said afterwards is protected by the network, or by TLS below.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from atoll.channel.frames import FrameError, Wire

VERSIONS = (1,)
"""Versions of the protocol that this side speaks, the best last."""
NONCE_BYTES = 16
NAME_LIMIT = 200


class HelloRefused(Exception):
    """The two sides don't come together: other secrets, no version in common, or a purpose that is not served."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a client says of itself."""

    version: int
    name: str
    """Such as ``eu-west/agent``; for logs and statistics, and to tell regions apart."""
    purpose: str


def nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)


def greet(own: bytes) -> Wire:
    """The server's first word."""
    return ["atoll", list(VERSIONS), own]


def introduce(greeting: Wire, secret: bytes, name: str, purpose: str, own: bytes) -> tuple[Wire, bytes]:
    """The client's answer to a greeting, and the proof that the server owes. Raises `HelloRefused`, `FrameError`."""
    match greeting:
        case ("atoll", [*spoken], bytes() as theirs):
            common = [version for version in VERSIONS if version in spoken]
        case _:
            raise FrameError("the other side does not greet as Atoll does; is this an agent's address?")
    if not common:
        raise HelloRefused(
            f"it speaks the versions {spoken}, this side {list(VERSIONS)}; upgrade the older one"
        )
    said = Introduction(common[-1], name, purpose)
    words: Wire = ["hello", said.version, name, purpose, own, _proof(secret, b"client", theirs, own, said)]
    return words, _proof(secret, b"server", theirs, own, said)


def judge(words: Wire, secret: bytes, own: bytes, served: Collection[str]) -> tuple[Introduction, bytes]:
    """Who the client is, and the server's own proof. Raises `HelloRefused`, `FrameError`."""
    match words:
        case (
            "hello",
            int() as version,
            str() as name,
            str() as purpose,
            bytes() as theirs,
            bytes() as proof,
        ):
            said = Introduction(version, name, purpose)
        case _:
            raise FrameError("the other side does not introduce itself as Atoll does")
    if len(name) > NAME_LIMIT or len(purpose) > NAME_LIMIT or len(theirs) != NONCE_BYTES:
        raise FrameError("an introduction out of bounds")
    if not hmac.compare_digest(proof, _proof(secret, b"client", own, theirs, said)):
        raise HelloRefused("the other side does not know this deployment's secret")
    if version not in VERSIONS:
        raise HelloRefused(
            f"version {version} is not spoken here, but {list(VERSIONS)}; upgrade the older side"
        )
    if purpose not in served:
        raise HelloRefused(f"nothing here serves {purpose!r}, but {sorted(served)}")
    return said, _proof(secret, b"server", own, theirs, said)


def welcome(name: str, proof: bytes) -> Wire:
    """The server's last word of the hello."""
    return ["welcome", name, proof]


def refuse(reason: str) -> Wire:
    return ["refused", reason]


def settled(words: Wire, owed: bytes) -> str:
    """The server's name, once it has proved itself. Raises `HelloRefused`, `FrameError`."""
    match words:
        case ("welcome", str() as name, bytes() as proof):
            if not hmac.compare_digest(proof, owed):
                raise HelloRefused("the other side does not know this deployment's secret")
            return name
        case ("refused", str() as reason):
            raise HelloRefused(f"the other side refuses: {reason}")
        case _:
            raise FrameError("the other side breaks off the hello")


def _proof(secret: bytes, role: bytes, server: bytes, client: bytes, said: Introduction) -> bytes:
    content = b"|".join(
        (role, server, client, b"%d" % said.version, said.name.encode(), said.purpose.encode())
    )
    return hmac.digest(secret, content, hashlib.sha256)
