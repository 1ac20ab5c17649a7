import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.tls import Role, Stranger, server_name
from atoll.tls.identity import Certificate, check_peer, regions_of

DOMAIN = "atoll.internal"
KNOWN = ("eu-west", "us-east")


def certificate(*names: str) -> Certificate:
    return {"subjectAltName": tuple(("DNS", name) for name in names)}


@pytest.mark.parametrize(
    ("names", "regions"),
    [
        (("gateways.eu-west.atoll.internal",), {"eu-west"}),
        (("gateways.eu-west.atoll.internal", "agent.eu-west.atoll.internal"), {"eu-west"}),
        (("*.eu-west.atoll.internal",), {"eu-west"}),
        (("Agent.EU-West.Atoll.Internal",), {"eu-west"}),
        (("agent.eu-west.atoll.internal", "agent.us-east.atoll.internal"), {"eu-west", "us-east"}),
        (("eu-west.atoll.internal",), set()),
        (("a.gateways.eu-west.atoll.internal",), set()),
        (("gateways.eu-west.atoll.internal.evil.example",), set()),
        (("gateways.eu-west.notatoll.internal",), set()),
        (("atoll.internal",), set()),
        ((), set()),
    ],
)
def test_the_regions_of_a_certificate(names: tuple[str, ...], regions: set[str]) -> None:
    assert regions_of(certificate(*names), DOMAIN) == regions


def test_names_of_other_kinds_say_nothing() -> None:
    other = {"subjectAltName": (("URI", "gateways.eu-west.atoll.internal"), ("IP Address", "10.0.0.1"))}
    assert regions_of(other, DOMAIN) == set()
    assert regions_of({"subject": ((("commonName", "gateways.eu-west.atoll.internal"),),)}, DOMAIN) == set()


@pytest.mark.parametrize("claimed", ["eu-west", "eu-west/agent", "eu-west/gateway-2"])
def test_who_may_say_so_is_let_in(claimed: str) -> None:
    check_peer(certificate("agent.eu-west.atoll.internal"), claimed, DOMAIN, KNOWN)


@pytest.mark.parametrize(
    ("shown", "claimed", "reason"),
    [
        (None, "eu-west", "shows no certificate"),
        ({}, "eu-west", "shows no certificate"),
        (certificate("agent.eu-west.elsewhere"), "eu-west", "names no region of atoll.internal"),
        (certificate("a.eu-west.atoll.internal", "a.us-east.atoll.internal"), "eu-west", "several regions"),
        (certificate("agent.mars.atoll.internal"), "mars", "which is no region here"),
        (certificate("agent.us-east.atoll.internal"), "eu-west/agent", "its certificate is of us-east"),
        (certificate("agent.us-east.atoll.internal"), "", "its certificate is of us-east"),
        (certificate("agent.us-east.atoll.internal"), "us-eastern/agent", "its certificate is of us-east"),
    ],
)
def test_who_may_not_is_told_why(shown: Certificate | None, claimed: str, reason: str) -> None:
    with pytest.raises(Stranger, match=reason):
        check_peer(shown, claimed, DOMAIN, KNOWN)


_REGIONS = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,2}", fullmatch=True)


@given(_REGIONS, _REGIONS, st.sampled_from(Role))
def test_a_certificate_speaks_for_its_own_region_and_no_other(own: str, other: str, role: Role) -> None:
    shown = certificate(server_name(role, own, DOMAIN))
    check_peer(shown, f"{own}/x", DOMAIN, (own, other))
    if other != own:
        with pytest.raises(Stranger):
            check_peer(shown, f"{other}/x", DOMAIN, (own, other))
