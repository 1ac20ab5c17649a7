"""Parts of the topologies that there are."""

import re
from collections.abc import Collection


def with_regions(text: str, regions: Collection[str], revision: int) -> str:
    """A topology's text with some of its regions alone, and their zones."""
    zones = set()
    for region, table in re.findall(r"(?m)^\[regions\.([\w-]+)\]\n((?:(?!\[).*\n)*)", text):
        if region in regions:
            zones |= set(re.findall(r'zone = "(.+)"', table))

    def stays(table: str) -> bool:
        if (one := re.match(r"\[(regions|zones)\.([\w-]+)", table)) is not None:
            return one[2] in (regions if one[1] == "regions" else zones)
        if (link := re.match(r'\[\[links\]\]\nbetween = \["([\w-]+)", "([\w-]+)"\]', table)) is not None:
            return {link[1], link[2]} <= set(regions)
        return True

    tables = re.split(r"(?m)^(?=\[)", re.sub(r"(?m)^revision = \d+", f"revision = {revision}", text))
    return "".join(filter(stays, tables))
