"""Namespaces in a topology: what is said of them, what can't be kept, and what may follow what."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.topology import (
    Backend,
    Behind,
    DataType,
    Durability,
    Level,
    Namespace,
    SuccessionError,
    Topology,
    TopologyError,
    check_regions,
    check_succession,
    first_regions,
    load,
    parse,
)
from atoll.topology.namespaces import nearest

FOLDER = Path(__file__).parents[2] / "infra" / "topologies"
LOCAL = (FOLDER / "local.toml").read_text()
RESIDENCY = (FOLDER / "residency.toml").read_text()
WORLD = (FOLDER / "world.toml").read_text()


def namespace(text: str, of: str = LOCAL, name: str = "carts") -> Namespace:
    return parse(f"{of}\n[namespaces.{name}]\n{text}\n").namespaces[name]


def problems(text: str) -> str:
    with pytest.raises(TopologyError) as refusal:
        parse(text, Path("mine.toml"))
    return str(refusal.value)


def test_what_is_left_out_has_a_default_by_level() -> None:
    assert namespace('level = "eventual"') == Namespace(
        name="carts",
        level=Level.EVENTUAL,
        types=tuple(DataType),
        residency=frozenset({"us", "eu", "apac"}),
        durability=Durability.REGION,
    )
    assert namespace('level = "session"').behind is Behind.ELSEWHERE
    assert namespace('level = "strong"') == Namespace(
        name="carts",
        level=Level.STRONG,
        types=(DataType.REGISTER,),
        residency=frozenset({"us", "eu", "apac"}),
        durability=Durability.MAJORITY,
        backend=Backend.REGISTERS,
        acceptors=("ap-northeast", "eu-west", "us-east"),
    )


def test_what_is_said_is_taken() -> None:
    said = namespace(
        'level = "session"\ntypes = ["set", "map"]\nresidency = ["eu"]\ndurability = "remote"\n'
        'behind = "mark"\nmax_staleness = "1500ms"',
        of=RESIDENCY,
    )
    assert said == Namespace(
        name="carts",
        level=Level.SESSION,
        types=(DataType.MAP, DataType.SET),
        residency=frozenset({"eu"}),
        durability=Durability.REMOTE,
        behind=Behind.MARK,
        max_staleness_s=1.5,
    )
    kept_elsewhere = namespace('level = "strong"\nbackend = "etcd"\netcd = ["http://10.0.0.9:2379"]')
    assert (kept_elsewhere.backend, kept_elsewhere.etcd, kept_elsewhere.acceptors) == (
        Backend.ETCD,
        ("10.0.0.9:2379",),
        (),
    )


def test_holders_are_the_regions_within_residency() -> None:
    text = (
        RESIDENCY
        + '[namespaces.carts]\nlevel = "session"\nresidency = ["eu"]\n[namespaces.a]\nlevel = "eventual"\n'
    )
    topology = parse(text)
    assert topology.holders("carts") == ("eu-west", "eu-central")
    assert topology.holders("a") == tuple(topology.regions)


def test_the_nearest_three_within_residency_accept() -> None:
    assert namespace('level = "strong"', of=WORLD).acceptors == ("eu-central", "eu-west", "us-east")
    apac = namespace('level = "strong"\nresidency = ["apac"]', of=WORLD)
    assert apac.acceptors == ("ap-northeast", "ap-south", "ap-southeast")


@given(st.data())
def test_the_default_acceptors_are_nearest_whatever_the_order(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abcdefg"), min_size=1, unique=True))
    times = {frozenset(pair): float(data.draw(st.integers(1, 4))) for pair in combinations(sorted(names), 2)}
    chosen = nearest(names, times)
    if len(names) < 3:
        assert chosen == ()
        return

    def total(three: tuple[str, ...]) -> float:
        return sum(times[frozenset(pair)] for pair in combinations(three, 2))

    assert all(total(chosen) <= total(three) for three in combinations(names, 3))
    assert all(nearest(order, times) == chosen for order in list(permutations(names))[:30])


def declared(text: str, name: str = "carts", of: str = LOCAL) -> Callable[[], str]:
    return lambda: f"{of}\n[namespaces.{name}]\n{text}\n"


def used(namespaces: str, residency: str, extra: str = "") -> Callable[[], str]:
    """A service of one zone that uses namespaces; `carts` has its data in the zone eu alone."""
    return lambda: (
        LOCAL + f'\n[services.shop]\nroute_prefix = "/shop"\nimport_path = "a:b"\nresidency = {residency}\n'
        f'namespaces = {namespaces}\n{extra}\n[namespaces.carts]\nlevel = "session"\nresidency = ["eu"]\n'
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (declared(""), ["namespaces.carts.level", "missing"]),
        (declared('level = "linear"'), ["namespaces.carts.level", "'linear'", "'strong'"]),
        (declared('level = "session"\nbehid = "mark"'), ["namespaces.carts.behid", "did you mean 'behind'"]),
        (declared('level = "session"', name="Carts"), ["namespaces.Carts", "must match"]),
        (declared('level = "session"', name='"4carts"'), ["namespaces.4carts", "must match"]),
        (declared('level = "session"', name='"ca:rts"'), ["namespaces.ca:rts", "must match"]),
        (declared('level = "session"', name='"carts\\n"'), ["must match"]),
        (declared('level = "session"', name='"cärts"'), ["must match"]),
        (
            lambda: LOCAL + '[namespaces.carts]\nlevel = "session"\n[namespaces.CARTS]\nlevel = "session"\n',
            ["namespaces.CARTS"],
        ),
        (declared('level = "session"', name="atoll"), ["namespaces.atoll", "reserved"]),
        (declared('level = "session"', name="atoll-members"), ["namespaces.atoll-members", "reserved"]),
        (
            declared('level = "session"\nresidency = ["europe"]'),
            ["namespaces.carts.residency", "'europe'", "known: apac, eu, us"],
        ),
        (
            declared('level = "session"\nresidency = ["eu"]\ndurability = "remote"'),
            ["namespaces.carts.durability", "residency eu has 1 region (eu-west)", "more zones"],
        ),
        (declared('level = "session"\ndurability = "majority"'), ["durability", 'for level "strong"']),
        (declared('level = "eventual"\nbehind = "mark"'), ["namespaces.carts.behind", 'for level "session"']),
        (declared('level = "session"\nacceptors = ["us-east"]'), ["acceptors", 'for level "strong"']),
        (declared('level = "session"\nbackend = "registers"'), ["backend", 'for level "strong"']),
        (declared('level = "session"\nmax_staleness = "2"'), ["namespaces.carts.max_staleness", "'250ms'"]),
        (
            declared('level = "strong"\nresidency = ["eu", "us"]'),
            ["namespaces.carts.level", "residency eu, us has 2 regions", "another level"],
        ),
        (declared('level = "strong"\ntypes = ["register", "map"]'), ["types", "'map'", "registers only"]),
        (declared('level = "strong"\ntypes = []'), ["namespaces.carts.types"]),
        (declared('level = "strong"\ndurability = "region"'), ["durability", 'always "majority"']),
        (declared('level = "strong"\nbehind = "mark"'), ["behind", "never behind"]),
        (declared('level = "strong"\nmax_staleness = "2s"'), ["max_staleness", "never stale"]),
        (declared('level = "strong"\nacceptors = ["us-east", "eu-west"]'), ["acceptors", "name 3 or 5"]),
        (
            declared('level = "strong"\nacceptors = ["us-east", "eu-west", "eu-west"]'),
            ["acceptors", "twice"],
        ),
        (
            declared('level = "strong"\nacceptors = ["us-east", "eu-west", "eu-wst"]'),
            ["acceptors", "'eu-wst'", "did you mean 'eu-west'"],
        ),
        (
            declared(
                'level = "strong"\nresidency = ["apac"]\nacceptors = ["ap-south", "au-east", "us-east"]',
                of=WORLD,
            ),
            ["acceptors", "'us-east'", "outside the namespace's residency", "ap-southeast"],
        ),
        (declared('level = "strong"\nbackend = "etcd"'), ["namespaces.carts.etcd", "missing"]),
        (declared('level = "strong"\netcd = ["http://a:1"]'), ["etcd", 'backend = "etcd"']),
        (
            declared(
                'level = "strong"\nbackend = "etcd"\netcd = ["http://a:1"]\nacceptors = ["us-east"]',
            ),
            ["acceptors", "members of its own"],
        ),
        (used('["carts", "cats"]', '["eu"]'), ["services.shop.namespaces", "'cats'", "did you mean 'carts'"]),
        (used('["carts", "carts"]', '["eu"]'), ["services.shop.namespaces", "twice"]),
        (
            used('["carts"]', '["us", "apac"]'),
            ["services.shop.namespaces", "no region is left", "us-east, ap-northeast", "carts in eu-west"],
        ),
        (
            used('["carts"]', '["eu", "us"]', 'regions = ["us-east"]'),
            ["services.shop.namespaces", "no region is left", "may run in us-east"],
        ),
        (
            lambda: (
                LOCAL + '[namespaces.carts]\nlevel = "session"\n[services.x]\nkind = "origin"\n'
                'route_prefix = "/x"\norigins.us-east = ["http://a:1"]\nnamespaces = ["carts"]\n'
            ),
            ["services.x.namespaces", "an origin has no part"],
        ),
    ],
)
def test_what_can_t_be_kept_is_refused_and_named(text: Callable[[], str], says: list[str]) -> None:
    message = problems(text())
    assert "nothing was changed" in message
    for part in says:
        assert part in message


def test_an_etcd_needs_no_three_regions() -> None:
    said = 'level = "strong"\nresidency = ["eu"]\nbackend = "etcd"\netcd = ["http://a:2379"]'
    assert namespace(said).residency == {"eu"}


def test_a_service_runs_where_all_its_namespaces_may_have_their_data() -> None:
    topology = parse(used('["carts"]', '["eu", "us"]', 'regions = ["us-east", "eu-west"]')())
    assert topology.services["shop"].regions == ("eu-west",)
    assert topology.services["shop"].residency == {"eu", "us"}
    assert topology.services["shop"].namespaces == ("carts",)


def test_the_digest_is_of_the_meaning() -> None:
    a = '[namespaces.a]\nlevel = "session"\nresidency = ["eu"]\n'
    b = '[namespaces.b]\nlevel = "eventual"\n'
    assert parse(LOCAL + a + b).digest == parse(LOCAL + b + "# said\n" + a.replace(" = ", "=")).digest
    assert len({parse(text).digest for text in (LOCAL, LOCAL + a, LOCAL + a.replace("eu", "us"))}) == 3


def test_a_part_of_a_deployment_keeps_namespaces_and_their_majorities() -> None:
    topology = parse(LOCAL + '[namespaces.stock]\nlevel = "strong"\n')
    one = first_regions(topology, 1)
    assert one.namespaces == topology.namespaces  # one of three acceptors: it refuses rather than forgets
    assert one.holders("stock") == ("us-east",)


def local(text: str = "", revision: int = 1) -> Topology:
    return parse(LOCAL.replace("revision = 1", f"revision = {revision}") + text)


def test_a_namespace_may_change_in_all_but_its_level() -> None:
    before = local('[namespaces.carts]\nlevel = "session"\n')
    for after in (
        '[namespaces.carts]\nlevel = "session"\nbehind = "mark"\nresidency = ["eu"]\n',
        '[namespaces.carts]\nlevel = "session"\n[namespaces.stock]\nlevel = "strong"\n',
        "",
    ):
        check_succession(before, local(after, revision=2))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('level = "eventual"', 'level = "session"', "'eventual' to level 'session'"),
        ('level = "session"', 'level = "strong"', "'session' to level 'strong' on registers"),
        (
            'level = "strong"',
            'level = "strong"\nbackend = "etcd"\netcd = ["http://a:1"]',
            "'strong' on registers to level 'strong' on etcd",
        ),
    ],
)
def test_a_namespace_does_not_move_to_another_level(before: str, after: str, says: str) -> None:
    with pytest.raises(SuccessionError, match="another name") as refusal:
        check_succession(
            local(f"[namespaces.carts]\n{before}\n"), local(f"[namespaces.carts]\n{after}\n", revision=2)
        )
    assert says in str(refusal.value)


def test_a_revision_does_not_go_back_and_a_name_stays() -> None:
    with pytest.raises(SuccessionError, match="revision 1 is older than 2"):
        check_succession(local(revision=2), local())
    with pytest.raises(SuccessionError, match="is now named 'else'"):
        check_succession(local(), replace(local(), name="else"))


def test_other_regions_follow_once_they_run() -> None:
    whole, two = local(revision=2), first_regions(local(), 2)
    for before, after in ((whole, first_regions(whole, 2)), (two, whole)):
        with pytest.raises(SuccessionError, match=r"\(ap-northeast\).*`atoll up`"):
            check_succession(before, after)
        check_succession(before, after, after.regions)
        with pytest.raises(SuccessionError, match=r"\(ap-northeast\)"):
            check_succession(before, before, after.regions)


EU = ("eu-west", "eu-central")


def world(
    *regions: str, confined: bool = False, acceptors: str = "", carts: bool = True, **changed: object
) -> Topology:
    """Some of the world's regions, with a strong namespace, and one that may be confined to the zone eu."""
    text = WORLD
    if carts:
        text += '\n[namespaces.carts]\nlevel = "session"\n' + ('residency = ["eu"]\n' if confined else "")
    text += '\n[namespaces.stock]\nlevel = "strong"\n' + acceptors
    whole = parse(text)
    return replace(
        whole,
        regions={name: replace(whole.regions[name], **changed) for name in regions},  # type: ignore[arg-type]
    )


def test_a_region_may_come_and_go() -> None:
    more, fewer = world(*EU, "us-east", "us-west"), world(*EU, "us-east")
    check_regions(more, fewer)
    check_regions(fewer, more)
    check_regions(fewer, fewer)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (world(*EU, "us-east"), world(*EU, "us-west"), "us-west would be added and us-east removed at once"),
        (world(*EU), world(*EU, "us-east", gateways=2), "another number of gateways"),
        (
            world(*EU, "us-east", confined=True),
            world("us-east", confined=True),
            "carts: eu-west, eu-central would be removed, and no other region may hold its data",
        ),
        (
            world(*EU, "us-east", "us-west", acceptors='acceptors = ["eu-west", "us-east", "us-west"]'),
            world(*EU),
            "stock: us-east, us-west are 2 of its 3 acceptors",
        ),
    ],
    ids=["exchanged", "changed", "last holder", "majority"],
)
def test_regions_that_can_t_come_or_go_while_traffic_runs(
    before: Topology, after: Topology, says: str
) -> None:
    with pytest.raises(SuccessionError, match=says):
        check_regions(before, after)


def test_what_is_removed_from_the_file_needs_no_holder() -> None:
    check_regions(world("eu-west", "us-east", confined=True), world("us-east", carts=False))


def test_the_files_that_come_with_it_have_sound_namespaces() -> None:
    for path in FOLDER.glob("*.toml"):
        topology = load(path)
        assert all(topology.holders(name) for name in topology.namespaces)
