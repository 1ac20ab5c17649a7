"""The figures as one page that needs nothing else: bars in SVG, light and dark."""

from collections.abc import Iterable, Sequence
from html import escape

from atoll.picture.theme import THEME
from loadtests.bench.figures import Verdict
from loadtests.bench.report import Report

_COLOURS = {
    "forwarding": "#0d7f76",
    "gateway": "#0b5fff",
    "envoy": "#b3389b",
    "envoy-logging": "#8a4b9e",
    "haproxy": "#c76a00",
    "fastapi-httpx": "#7a7f87",
}
_BAR, _GAP, _LEFT, _WIDTH = 16, 4, 150, 760
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
body{background:var(--ground);color:var(--ink)} svg{width:100%;height:auto} table{border-collapse:collapse}
text{font:12px system-ui,sans-serif;fill:var(--ink)} small{color:var(--quiet)}
td,th{padding:.2rem .8rem .2rem 0;text-align:left} .no{color:var(--bad)} .yes{color:var(--good)}
"""


def page(report: Report) -> str:
    """The whole page."""
    machine = ", ".join(f"{key}: {value}" for key, value in report.machine.items())
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Atoll's gateway beside its peers</title><style>{THEME}{_STYLE}</style>",
        f"<h1>Atoll's gateway beside its peers</h1><p><small>{escape(report.date)} · {escape(machine)}</small></p>",
        _verdicts(report.verdicts),
    ]
    for connections in dict.fromkeys(summary.connections for summary in report.summaries):
        mine = [summary for summary in report.summaries if summary.connections == connections]
        proxies = [summary for summary in mine if summary.subject in _COLOURS]
        ending = "" if connections == 1 else "s"
        parts += [
            f"<h2>{connections} connection{ending}</h2>",
            _bars("requests per second", [(s.subject, s.requests_per_s) for s in proxies]),
            _bars(
                "requests per second of processor time", [(s.subject, s.requests_per_cpu_s) for s in proxies]
            ),
            _bars(
                "p50 above the upstream's own, in microseconds",
                [(s.subject, s.added_p50_us) for s in proxies],
            ),
        ]
    if report.layers:
        parts += [
            "<h2>What a request costs in each layer</h2>",
            _bars("microseconds", list(report.layers.items())),
        ]
    if report.faults:
        parts += ["<h2>A replica, then a region, becomes ten times slower</h2>", _faults(report)]
    return "\n".join(parts) + "</html>\n"


def _bars(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars with their figures, and a title that is read out in their place."""
    most = max((value for _, value in bars), default=0.0) or 1.0
    height = len(bars) * (_BAR + _GAP)
    rows = []
    for number, (name, value) in enumerate(bars):
        y = number * (_BAR + _GAP)
        width = max(1.0, (_WIDTH - _LEFT - 90) * max(0.0, value) / most)
        figure = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
        rows.append(
            f"<text x='{_LEFT - 8}' y='{y + 12}' text-anchor='end'>{escape(name)}</text>"
            f"<rect x='{_LEFT}' y='{y}' width='{width:.1f}' height='{_BAR}' fill='{_COLOURS.get(name, '#0b5fff')}'/>"
            f"<text x='{_LEFT + width + 6:.1f}' y='{y + 12}'>{figure}</text>"
        )
    return (
        f"<h3>{escape(title)}</h3><svg viewBox='0 0 {_WIDTH} {height}' role='img'><title>{escape(title)}</title>"
        f"{''.join(rows)}</svg>"
    )


def _verdicts(verdicts: Iterable[Verdict]) -> str:
    rows = "".join(
        f"<tr><td>{escape(verdict.aim)}<td>{verdict.wanted:.2f}<td class='{'yes' if verdict.passed else 'no'}'>"
        f"{verdict.reached:.2f} {'reached' if verdict.passed else 'not reached'}"
        for verdict in verdicts
    )
    return f"<table><tr><th>Aim<th>Wanted<th>Found{rows}</table>" if rows else ""


def _faults(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{escape(fault.scenario)}<td>{escape(fault.subject)}<td>{fault.normal_p99_ms:.1f}"
        f"<td>{fault.faulty_p99_ms:.1f}<td>{fault.end_p99_ms:.1f}<td>{fault.failed}"
        f"<td>{'never' if fault.settled_s is None else f'{fault.settled_s:.1f} s'}"
        for fault in report.faults
    )
    head = "<tr><th>Fault<th>Proxy<th>p99 before, ms<th>p99 after, ms<th>p99 at the end, ms<th>Failed<th>Settled after"
    return f"<table>{head}{rows}</table>"
