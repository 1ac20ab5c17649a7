"""What a service learns of where it runs."""

from atoll.sdk import Region, region


def test_the_region_is_what_the_cell_says() -> None:
    assert region({"ATOLL_REGION": "eu-west", "ATOLL_ZONE": "eu"}) == Region(name="eu-west", zone="eu")


def test_outside_a_cell_it_is_local() -> None:
    assert region({}) == Region(name="local", zone="local")
