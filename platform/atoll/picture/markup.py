"""HTML and SVG as text. What comes out is also well-formed XML."""

import re
from html import escape

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML document may hold, escaped or not (XML 1.0, section 2.2)."""


class Markup(str):
    """Finished markup. Every other string is words, and is escaped where it goes in."""

    __slots__ = ()


def words(text: str) -> Markup:
    """The text, escaped for an element or an attribute. Characters that XML forbids become U+FFFD."""
    return Markup(escape(_FORBIDDEN.sub("\ufffd", text)))


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element. Underscores in attributes' names are hyphens, one at the end is dropped; None leaves it out.

    >>> tag("text", "a < b", x=1.25, class_="note")
    '<text x="1.2" class="note">a &lt; b</text>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = join(*children)
    return Markup(
        f"<{name}{given}>{inside}</{name}>" if inside or name not in _EMPTY else f"<{name}{given}/>"
    )


def join(*children: str) -> Markup:
    """One after the other."""
    return Markup("".join(child if isinstance(child, Markup) else words(child) for child in children))


_EMPTY = frozenset({"meta", "rect", "line", "path", "circle", "br"})
"""They have no children; of the others, HTML wants an end."""


def _value(value: str | float) -> str:
    return value if isinstance(value, Markup) else words(value) if isinstance(value, str) else point(value)


def point(value: float) -> str:
    """A coordinate to a tenth of a pixel: finer can't be seen, and the text stays short."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")
