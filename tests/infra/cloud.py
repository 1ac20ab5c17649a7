"""A cloud that is a process on this machine: moto's server, on a port of its own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ZONE = "example.com"

# The machine image that modules/region names, which moto's own list does not have.
IMAGES = [
    {
        "ami_id": f"ami-{number:017d}",
        "name": f"al2023-ami-2023.12.20261021.0-kernel-6.12-{architecture}",
        "architecture": architecture,
        "description": "Amazon Linux 2023",
        "owner_id": "137112412989",
        "public": True,
        "virtualization_type": "hvm",
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
    }
    for number, architecture in enumerate(("arm64", "x86_64"))
]


@dataclass(frozen=True, slots=True)
class Cloud:
    """One account in every region, empty but for the public zone `example.com`."""

    url: str
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """What an AWS client has to be told to talk to it."""
        return {"AWS_ENDPOINT_URL": self.url}

    def left(self, regions: Iterable[str]) -> tuple[str, ...]:
        """Networks, but for each region's default one, and load balancers that it still has."""
        found: list[str] = []
        for region in regions:
            networks = self.client("ec2", region).describe_vpcs()["Vpcs"]
            found += [each["VpcId"] for each in networks if not each["IsDefault"]]
            balancers = self.client("elbv2", region).describe_load_balancers()["LoadBalancers"]
            found += [each["LoadBalancerArn"] for each in balancers]
        return tuple(found)

    def client(self, service: str, region: str = "us-east-1") -> Any:
        import boto3  # here, so that without the extra `infra` tests are skipped and say why

        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@contextmanager
def running(folder: Path) -> Iterator[Cloud]:
    """A cloud for as long as it is needed; its log and what it is told lie in `folder`."""
    images = folder / "images.json"
    images.write_text(json.dumps(IMAGES))
    port = _free_port()
    log = folder / "cloud.log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env={**os.environ, "MOTO_AMIS_PATH": str(images), "MOTO_ACM_VALIDATION_WAIT": "0"},
            stdout=lines,
            stderr=lines,
        )
    try:
        cloud = Cloud(f"http://127.0.0.1:{port}", log)
        _wait(cloud, process)
        cloud.client("route53").create_hosted_zone(Name=ZONE, CallerReference="delegated")
        yield cloud
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(cloud: Cloud, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{cloud.url}/moto-api/", timeout=5).close()
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto does not run: {cloud.log.read_text()[-2000:]}") from None
            time.sleep(0.1)
        else:
            return
