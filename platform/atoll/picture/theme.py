"""Light, dark and paper: colours by what they mean, as variables of CSS."""

_LIGHT = (
    "--ground:#fff;--ink:#1c2024;--quiet:#5b616a;--grid:#e3e6ea;--shade:#fdeee6;"
    "--bad:#b42318;--good:#067647;--warn:#925100;--line:#0b5fff;--soft:#f5f6f8"
)
_DARK = (
    "--ground:#16181b;--ink:#edeef0;--quiet:#a3a9b2;--grid:#2e3238;--shade:#36251d;"
    "--bad:#f97066;--good:#47cd89;--warn:#f5b14c;--line:#7aa7ff;--soft:#1f2226"
)
THEME = f":root{{color-scheme:light dark;{_LIGHT}}}@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
"""For the style of a page, or of an SVG that stands alone. Words in `ink`, `quiet`, `bad`, `good` and `warn` can be
read on `ground` and on `soft` (WCAG 2.2, contrast of 4.5 or more)."""
NAMESPACE = "http://www.w3.org/2000/svg"
"""Of an SVG that stands alone; nobody fetches it."""
