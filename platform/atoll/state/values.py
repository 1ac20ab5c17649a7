"""Values as bytes: what a service author hands over, and what is read back, perhaps by another version of the service.

    b<bytes>                         bytes as they are
    j<JSON>                          anything that JSON has
    m<schema version>:<JSON>         a pydantic model, or any type that pydantic can validate

A model says its version as ``schema_version: ClassVar[int] = 2``; without one it is 1. A reader validates whatever
version it finds: pydantic ignores fields that a model doesn't know, unless the model forbids them, so old readers keep
working with newer values that only add fields. A model that wants to read an older layout has a validator of mode
"before", which finds the version that was written in ``info.context["schema_version"]``.

An old reader that writes back what it read drops the fields that it doesn't know; ``extra="allow"`` keeps them.
"""

import inspect
import json
from collections.abc import Iterator
from typing import Any, Final, Generic, Protocol, TypeVar, overload

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from atoll.state.errors import StateError

T = TypeVar("T")

_BYTES: Final = b"b"
_JSON: Final = b"j"
_MODEL: Final = b"m"


class UnreadableValue(StateError):
    """What is stored can't be read as what was asked for. The message never holds any of the value."""

    def __init__(self, namespace: str, key: str, version: int | None, reason: str) -> None:
        written = "" if version is None else f", written with schema version {version},"
        super().__init__(f"the value of {key!r} in namespace {namespace}{written} can't be read: {reason}")
        self.namespace = namespace
        self.key = key
        self.version = version
        """The schema version that it was written with; None if it has none."""
        self.reason = reason


class UnwritableValue(StateError, TypeError):
    """A value is not of the type that its register, map or cache holds."""


class Codec(Protocol[T]):
    """Writes and reads the values of one type."""

    def encode(self, value: T) -> bytes:
        """Raises `UnwritableValue` if `value` is not of the type."""
        ...

    def decode(self, payload: bytes, namespace: str, key: str) -> T:
        """Raises `UnreadableValue`, which names `namespace` and `key`."""
        ...


class BytesCodec:
    """Bytes as they are."""

    __slots__ = ()

    def encode(self, value: bytes) -> bytes:
        if not isinstance(value, bytes):
            raise UnwritableValue(f"the value is to be bytes, not {type(value).__name__}")
        return _BYTES + value

    def decode(self, payload: bytes, namespace: str, key: str) -> bytes:
        tag, version, body = _split(payload, namespace, key)
        if tag != _BYTES:
            raise UnreadableValue(
                namespace, key, version, "it is no bytes; read it with the model it was written with"
            )
        return body


class JsonCodec:
    """What `json` can write. Reads what a model wrote, too, as plain JSON."""

    __slots__ = ()

    def encode(self, value: object) -> bytes:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            return _JSON + text.encode()
        except (TypeError, ValueError):
            raise UnwritableValue(
                f"a value of type {type(value).__name__} is no JSON; use plain JSON types, or give a model"
            ) from None

    def decode(self, payload: bytes, namespace: str, key: str) -> Any:
        tag, version, body = _split(payload, namespace, key)
        if tag == _BYTES:
            raise UnreadableValue(namespace, key, version, "it is bytes; read it with model=bytes")
        try:
            return json.loads(body)
        except ValueError:
            raise UnreadableValue(namespace, key, version, "it is damaged: no JSON") from None


class ModelCodec(Generic[T]):
    """A pydantic model, or any other type that pydantic can validate (a dataclass, ``list[int]``, ...).

    Raises `TypeError` for a type that it can't, and for a schema version that is no positive number.
    """

    __slots__ = ("_adapter", "_fields", "_head", "_name", "version")

    def __init__(self, model: type[T]) -> None:
        self._name = getattr(model, "__name__", str(model))
        version: object = getattr(model, "schema_version", 1)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise TypeError(f"schema_version of {self._name} must be a number from 1 on: ClassVar[int]")
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(model)
        except PydanticUserError as error:
            raise TypeError(f"{self._name} is no type that pydantic can validate: {error}") from error
        self.version = version
        self._head = _MODEL + f"{version}:".encode()
        self._fields = frozenset(_names(model))

    def encode(self, value: T) -> bytes:
        try:
            checked = self._adapter.validate_python(value, strict=True)
            return self._head + self._adapter.dump_json(checked, by_alias=True, round_trip=True)
        except ValidationError as error:
            why = self._why(error)
        raise UnwritableValue(f"a value of type {type(value).__name__} is no {self._name}: {why}")

    def decode(self, payload: bytes, namespace: str, key: str) -> T:
        tag, version, body = _split(payload, namespace, key)
        if tag == _BYTES:
            raise UnreadableValue(
                namespace, key, version, f"it is bytes, not {self._name}; read it with model=bytes"
            )
        try:
            return self._adapter.validate_json(body, context={"schema_version": version})
        except ValidationError as error:
            why = self._why(error)
        raise UnreadableValue(
            namespace,
            key,
            version,
            f"{self._name} of this program (schema version {self.version}) refuses it: {why}",
        )

    def _why(self, error: ValidationError) -> str:
        """Fields of the model and kinds of error, never what stood there."""
        found = error.errors(include_url=False, include_context=False, include_input=False)
        shown = (
            f"{one['loc'][0]}: {one['type']}" if self._is_field(one["loc"]) else one["type"] for one in found
        )
        return ", ".join(dict.fromkeys(shown))

    def _is_field(self, path: tuple[int | str, ...]) -> bool:
        return bool(path) and path[0] in self._fields


JSON: Final = JsonCodec()
BYTES: Final = BytesCodec()


@overload
def codec_for(model: None = None) -> JsonCodec: ...
@overload
def codec_for(model: type[bytes]) -> Codec[bytes]: ...
@overload
def codec_for(model: type[T]) -> Codec[T]: ...
def codec_for(model: Any = None) -> Any:
    """The codec of a type: ``bytes``, a pydantic model or any type that pydantic validates; None: plain JSON.

    Making one takes pydantic some time; keep it.
    """
    if model is None:
        return JSON
    return BYTES if model is bytes else ModelCodec(model)


def _split(payload: bytes, namespace: str, key: str) -> tuple[bytes, int | None, bytes]:
    """Tag, schema version (None but for a model's) and what follows them."""
    tag = payload[:1]
    if tag in {_BYTES, _JSON}:
        return tag, None, payload[1:]
    version, colon, body = payload[1:].partition(b":")
    if tag == _MODEL and colon and version.isdigit() and len(version) <= 9:
        return tag, int(version), body
    raise UnreadableValue(
        namespace,
        key,
        None,
        "its first bytes are no tag that this program knows; a newer one may have written it",
    )


def _names(model: object) -> Iterator[str]:
    """What a model's fields are called, in Python and in JSON."""
    if inspect.isclass(model) and issubclass(model, BaseModel):  # list[int] is no class
        for name, field in model.model_fields.items():
            yield name
            if field.alias:
                yield field.alias
