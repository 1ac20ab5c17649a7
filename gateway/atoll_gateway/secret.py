"""Bearer tokens: read from files, compared in constant time."""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path


class TokenError(Exception):
    """A token file that can't be used."""


class Token:
    """One shared secret. Its text appears in no log and no `repr`."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def read(cls, path: Path) -> "Token":
        """Reads a token from a file. Raises `TokenError` if there is none in it."""
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            raise TokenError(f"{path} can't be read: {error.strerror}; `atoll up` writes it") from error
        if len(secret) < 16:
            raise TokenError(
                f"{path} holds no token of at least 16 characters; remove it and run `atoll up` again"
            )
        return cls(secret)

    def __repr__(self) -> str:
        return "Token(...)"

    def bearer(self) -> bytes:
        """The value of an ``Authorization`` header that shows this token."""
        return b"Bearer " + self._secret

    def derive(self, purpose: bytes) -> bytes:
        """A key for one purpose, from which the token can't be had."""
        return hmac.digest(self._secret, purpose, hashlib.sha256)

    def admits(self, authorization: bytes | None) -> bool:
        """Whether an ``Authorization`` header shows this token, as a bearer token or as the password of Basic."""
        if authorization is None:
            return False
        scheme, _, value = authorization.partition(b" ")
        match scheme.lower():
            case b"bearer":
                shown = value.strip()
            case b"basic":
                try:
                    shown = base64.b64decode(value, validate=True).partition(b":")[2]
                except binascii.Error:
                    return False
            case _:
                return False
        return hmac.compare_digest(shown, self._secret)
