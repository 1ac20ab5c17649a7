"""What provisioning says of the regions that it has made."""

from typing import Any

PLACES = {
    "us-east": ("Virginia", 38.95, -77.45, "us", "us-east-1"),
    "eu-west": ("Ireland", 53.35, -6.26, "eu", "eu-west-1"),
    "ap-northeast": ("Tokyo", 35.68, 139.69, "apac", "ap-northeast-1"),
    "eu-south": ("Milan", 45.46, 9.19, "eu", "eu-south-1"),
}


def deployed(*names: str) -> dict[str, Any]:
    """As `terraform output -json atoll` has it."""
    return {
        "schema": "atoll.deployment/1",
        "name": "shop",
        "domain": "atoll.internal",
        "public_domain": "shop.example.com",
        "public_url": "https://shop.example.com",
        "regions": {name: _region(name) for name in names},
    }


def _region(name: str) -> dict[str, Any]:
    title, latitude, longitude, zone, aws_region = PLACES[name]
    return {
        "title": title,
        "latitude": latitude,
        "longitude": longitude,
        "zone": zone,
        "aws_region": aws_region,
        "public_url": f"https://{name}.shop.example.com",
        "gateways": f"gateways.{name}.atoll.internal:8443",
        "agent": f"agent.{name}.atoll.internal:8444",
        "head": f"head.{name}.atoll.internal",
        "state": f"redis://state.{name}.atoll.internal:6379",
        "cache": f"rediss://atoll@{name}.cache.example.com:6379",
    }
