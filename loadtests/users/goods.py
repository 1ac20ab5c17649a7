"""What the load's shop has in stock, so that an audit can say afterwards what was sold."""

from collections.abc import Mapping

ARTICLES = (
    "1796236", "1816670", "1795565", "745044", "1275339", "524901", "3435910", "2332459", "1808926", "1795855",
    "3688689", "1273294", "1850147", "3448439", "2643743", "1809858", "1835848", "3936456", "1185241", "3530597",
)  # fmt: skip
"""Postcards of twenty large cities, by GeoNames id. Purchases of one article wait for each other, so there are some."""

SALE = "360630"
"""What everybody wants in a flash sale: a postcard of Cairo."""

ON_HAND = 100_000
"""Of each article: more than a load buys."""

PRICE_CENTS = 250


def stock(sale_stock: int) -> Mapping[str, int]:
    """How many there are of each article when the load begins."""
    return {**dict.fromkeys(ARTICLES, ON_HAND), SALE: sale_stock}
