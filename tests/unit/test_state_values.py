"""Payloads that service authors write and read, also across versions of a service."""

import traceback
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationInfo, computed_field, model_validator

from atoll.state.values import Codec, ModelCodec, UnreadableValue, UnwritableValue, codec_for


class Price(BaseModel):
    cents: int
    currency: str = "EUR"


class NewPrice(BaseModel):
    """Has one field more."""

    schema_version: ClassVar[int] = 2
    cents: int
    currency: str = "EUR"
    tax: float = 0.0


class OtherPrice(BaseModel):
    """Has another layout, and reads the older one."""

    schema_version: ClassVar[int] = 3
    amount: dict[str, int]

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any, info: ValidationInfo) -> Any:
        if info.context and info.context["schema_version"] < 3:
            return {"amount": {data.get("currency", "EUR"): data["cents"]}}
        return data


class StrictPrice(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cents: int
    currency: str = "EUR"


class KeepingPrice(BaseModel):
    model_config = ConfigDict(extra="allow")
    cents: int


@dataclass
class Point:
    x: int
    y: int


@given(st.binary())
def test_bytes_stay_as_they_are(value: bytes) -> None:
    codec = codec_for(bytes)
    assert codec.decode(codec.encode(value), "n", "k") == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_stays_as_it_is(value: object) -> None:
    codec = codec_for()
    try:
        payload = codec.encode(value)
    except UnwritableValue:
        assert "\\ud" in ascii(value)  # half a surrogate pair is no text
        return
    assert codec.decode(payload, "n", "k") == value


def test_models_and_other_types_are_validated() -> None:
    prices = codec_for(Price)
    assert prices.encode(Price(cents=5)) == b'm1:{"cents":5,"currency":"EUR"}'
    assert prices.decode(prices.encode(Price(cents=5)), "n", "k") == Price(cents=5)
    points = codec_for(Point)
    assert points.decode(points.encode(Point(1, 2)), "n", "k") == Point(1, 2)
    numbers = codec_for(list[int])
    assert numbers.decode(numbers.encode([1, 2]), "n", "k") == [1, 2]


def test_what_is_computed_is_not_kept() -> None:
    class Total(BaseModel):
        model_config = ConfigDict(extra="forbid")
        a: int

        @computed_field  # type: ignore[prop-decorator]
        @property
        def double(self) -> int:
            return 2 * self.a

    codec = codec_for(Total)
    assert codec.decode(codec.encode(Total(a=1)), "n", "k").double == 2


def test_an_old_reader_reads_what_a_newer_writer_added_to() -> None:
    payload = codec_for(NewPrice).encode(NewPrice(cents=5, tax=0.19))
    assert payload.startswith(b"m2:")
    assert codec_for(Price).decode(payload, "n", "k") == Price(cents=5)
    kept = codec_for(KeepingPrice).decode(payload, "n", "k")
    assert codec_for(NewPrice).decode(codec_for(KeepingPrice).encode(kept), "n", "k").tax == 0.19


def test_a_new_reader_reads_what_an_older_writer_wrote() -> None:
    old = codec_for(Price).encode(Price(cents=5, currency="USD"))
    assert codec_for(NewPrice).decode(old, "n", "k") == NewPrice(cents=5, currency="USD")
    assert codec_for(OtherPrice).decode(old, "n", "k") == OtherPrice(amount={"USD": 5})
    current = OtherPrice(amount={"EUR": 1})
    assert codec_for(OtherPrice).decode(codec_for(OtherPrice).encode(current), "n", "k") == current


SECRET = "4929-secret"


@pytest.mark.parametrize(
    ("codec", "payload", "version", "reason"),
    [
        (
            codec_for(StrictPrice),
            codec_for(NewPrice).encode(NewPrice(cents=5)),
            2,
            "StrictPrice .* refuses it",
        ),
        (codec_for(Price), b'm7:{"cents":"' + SECRET.encode() + b'"}', 7, "cents: int_parsing"),
        (codec_for(dict[str, int]), b'm1:{"' + SECRET.encode() + b'":"x"}', 1, ": int_parsing"),
        (codec_for(Price), b"m1:{" + SECRET.encode(), 1, "json_invalid"),
        (codec_for(Price), b"b" + SECRET.encode(), None, "read it with model=bytes"),
        (codec_for(), b"b" + SECRET.encode(), None, "read it with model=bytes"),
        (codec_for(), b"j{" + SECRET.encode(), None, "damaged"),
        (codec_for(bytes), b'j"' + SECRET.encode() + b'"', None, "read it with the model"),
        (codec_for(bytes), b'm3:"' + SECRET.encode() + b'"', 3, "read it with the model"),
        (codec_for(), b"", None, "no tag"),
        (codec_for(Price), b"q" + SECRET.encode(), None, "no tag"),
        (codec_for(Price), b"mx:" + SECRET.encode(), None, "no tag"),
    ],
)
def test_what_cannot_be_read_says_where_and_why_and_never_what(
    codec: Codec[Any], payload: bytes, version: int | None, reason: str
) -> None:
    with pytest.raises(UnreadableValue, match=reason) as caught:
        codec.decode(payload, "prices", "postcard")
    error = caught.value
    assert (error.namespace, error.key, error.version) == ("prices", "postcard", version)
    assert "'postcard' in namespace prices" in str(error)
    assert version is None or f"schema version {version}" in str(error)
    assert SECRET not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (codec_for(bytes), SECRET),
        (codec_for(Price), {"cents": SECRET}),
        (codec_for(list[int]), [SECRET]),
        (codec_for(), {1: object()}),
        (codec_for(), float("nan")),
    ],
)
def test_what_is_of_another_type_is_not_written(codec: Codec[Any], value: object) -> None:
    with pytest.raises(UnwritableValue) as caught:
        codec.encode(value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_type_that_cannot_be_validated_is_refused_at_once() -> None:
    class Bare:
        pass

    class Odd(BaseModel):
        schema_version: ClassVar[int] = 0

    with pytest.raises(TypeError, match="Bare is no type that pydantic can validate"):
        ModelCodec(Bare)
    with pytest.raises(TypeError, match="schema_version of Odd"):
        ModelCodec(Odd)
