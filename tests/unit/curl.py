"""The `curl` lines of our pages, so that they can be tried without a network."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Curl:
    """One line."""

    line: str
    method: str = "GET"
    port: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    content: str | None = None
    sends_cookies: bool = False
    keeps_cookies: bool = False


def lines_of(page: Path) -> list[Curl]:
    """In the order in which they stand there."""
    return [_parsed(line) for line in re.findall(r"^curl .*$", page.read_text(), flags=re.MULTILINE)]


def _parsed(line: str) -> Curl:
    made, method = Curl(line), None
    words = shlex.split(line)[1:]
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-H":
                name, _, made.headers[name] = words.pop(0).partition(": ")
            case "-d" | "--json" as option:
                made.content = words.pop(0)
                if option == "--json":
                    made.headers["Content-Type"] = "application/json"
            case "-b":
                made.sends_cookies = bool(words.pop(0))
            case "-c":
                made.keeps_cookies = bool(words.pop(0))
            case word:
                found = re.fullmatch(r"localhost:(\d+)(/.*)", word)
                if found is None or made.path:
                    pytest.fail(f"no curl option of these tests: {word} in {line}")
                made.port, made.path = found.groups()
    made.method = method or ("GET" if made.content is None else "POST")
    return made
