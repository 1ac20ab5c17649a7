"""What the shop's services have in common about an article: its name and how many one may ask for."""

from typing import Annotated

from pydantic import Field

MAX_QUANTITY = 99

Sku = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="names an article")]
"""Stock keeping unit."""

Name = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$", description="chosen by the client")]
"""Of a cart or a reservation."""

Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY, description="how many")]
