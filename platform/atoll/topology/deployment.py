"""The shape of ``atoll.deployment/1``: what provisioning says of the regions it has made (`terraform output -json`).

Addresses and places alone, and no secrets: those stay where they were made.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from atoll.topology.document import Endpoint, Host, Name, Site, StoreUrl


def _without_secret(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is not None or parts.query or parts.path.strip("/"):
        raise ValueError(
            "leave password and options out: write 'rediss://host:port' or 'rediss://user@host:port'"
        )
    return url


BareStoreUrl = Annotated[StoreUrl, AfterValidator(_without_secret)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DeployedRegion(_Strict):
    """One region; its keys mean what they mean in a topology."""

    title: str = Field(min_length=1, max_length=60)
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    zone: Name
    aws_region: str = Field(min_length=1)
    """The cloud's own name of it, for people."""
    public_url: Site
    gateways: Endpoint
    agent: Endpoint
    head: Host
    state: BareStoreUrl
    cache: BareStoreUrl


class Deployment(_Strict):
    """All regions of a deployment."""

    schema_: Literal["atoll.deployment/1"] = Field(alias="schema")
    name: Name
    domain: Host
    """Of the machines' own names."""
    public_domain: Host
    public_url: Site
    """Where clients are steered from."""
    regions: dict[Name, DeployedRegion] = Field(min_length=1)


DEPLOYMENT: TypeAdapter[Deployment] = TypeAdapter(Deployment)
