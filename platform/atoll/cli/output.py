"""Where commands write: tables for people, or one JSON document."""

import sys
from typing import IO

from rich import box
from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 200
"""Columns where the output is no terminal: wide enough that no table of ours wraps in a file."""


def console(file: IO[str] | None = None) -> Console:
    """For people. Text is printed as it is: nothing in it is taken for markup, no word is coloured by guess."""
    stream = sys.stdout if file is None else file
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in `right` are aligned to the right. Only reasons and values wrap."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in {"Why", "Value"},
            overflow="fold",
        )
    return made


def print_json(document: bytes) -> None:
    """The one document that `--json` prints."""
    print(document.decode())


def mebibytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1024**2:,.0f} MiB"
