"""Session tokens: what they carry, and that nobody else can make one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.state.session import LIMIT_BYTES, Session, SessionTokens, pruned
from atoll.state.vector import NOTHING, Dot, Vector, actor_of

REGIONS = [
    f"{zone}-{side}-{number}"
    for zone in ("eu", "us", "apac")
    for side in ("west", "east")
    for number in (1, 2)
]
VECTORS = st.dictionaries(
    st.builds(actor_of, st.sampled_from(REGIONS), st.integers(1_700_000_000, 1_800_000_000)),
    st.integers(1, 2**53),
    max_size=20,
).map(Vector)


@given(VECTORS)
def test_a_token_says_what_went_in(needs: Vector) -> None:
    tokens = SessionTokens(b"key")
    written = tokens.write(needs)
    assert tokens.read(written) == needs
    assert len(written) < LIMIT_BYTES
    assert all(character.isalnum() or character in "-_." for character in written), (
        "safe in headers and cookies"
    )


def test_an_ordinary_token_is_small() -> None:
    needs = Vector({actor_of(region, 1_763_720_000): 123_456 for region in REGIONS[:3]})
    assert len(SessionTokens(b"key").write(needs)) < 160


@given(VECTORS, st.integers(0), st.characters(codec="latin-1"))
def test_a_changed_token_is_nobodys(needs: Vector, place: int, letter: str) -> None:
    tokens = SessionTokens(b"key")
    written = tokens.write(needs)
    place %= len(written)
    changed = written[:place] + letter + written[place + 1 :]
    assert tokens.read(changed) in {None, needs}  # the last bits of a base64 text may mean nothing
    assert SessionTokens(b"another").read(written) is None


@pytest.mark.parametrize("text", ["", ".", "..", "1..", "2.gA.AAAA", "1.gA", "é", "1." + "A" * LIMIT_BYTES])
def test_rubbish_is_no_token(text: str) -> None:
    assert SessionTokens(b"key").read(text) is None


def test_a_session_only_grows_and_says_when() -> None:
    a, b = actor_of("eu-west", 1_700_000_000), actor_of("us-east", 1_700_000_001)
    session = Session(Vector({a: 5}))
    session.saw(Dot(a, 3))
    assert not session.grown
    session.saw(Dot(a, 7), Dot(b, 1))
    session.join(Vector({b: 4}))
    assert session.grown
    assert session.needs() == Vector({a: 7, b: 4})
    assert pruned(session.needs(), Vector({a: 7, b: 3})) == Vector({b: 4})
    assert pruned(session.needs(), NOTHING) == session.needs()
