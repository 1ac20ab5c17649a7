"""What the page looks like: light, dark, on paper, on a narrow screen."""

from atoll.picture.theme import THEME
from loadtests.drills.charts.style import CHART

WIDTHS = (960, 620, 370)
"""The picture is drawn this wide, in pixels, each; the page shows the one that fits, so that text stays readable."""

_PAGE = """
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1008px;padding:1.5rem 1.5rem 4rem;
background:var(--ground);color:var(--ink);overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.25;margin:.4rem 0} h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.5rem 0;max-width:46rem} .lead{font-size:1.06rem} small,.counts,.name{color:var(--quiet)}
.badge{display:flex;flex-wrap:wrap;gap:.4rem .8rem;align-items:center}
.verdict{font-weight:600;padding:.1rem .7rem;border-radius:1rem;border:1.5px solid currentColor}
.passed,.good{color:var(--good)} .failed-verdict,.failed,.bad{color:var(--bad)}
.inconclusive,.aborted,.unknown{color:var(--warn)}
.warning{border-left:4px solid var(--warn);padding:.3rem .8rem;background:var(--soft)}
.reasons{margin:.5rem 0;padding-left:1.2rem;max-width:46rem}
.keys{display:grid;grid-template-columns:repeat(3,1fr);gap:.6rem;margin:1.2rem 0}
.keys div{background:var(--soft);border-radius:.5rem;padding:.6rem .8rem}
.keys dt{font-size:.85rem;font-weight:600} .keys dd{margin:0;font-size:.8rem;line-height:1.35}
.keys .figure{font-size:1.3rem;line-height:1.4;font-weight:600;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto} table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem 1.2rem .35rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
th{font-weight:600} tbody th{font-weight:400} td{white-space:nowrap} th small{display:block}
.numbers td:last-child,td.prose{white-space:normal} code,pre{font:.92em ui-monospace,monospace}
pre{background:var(--soft);padding:.6rem .8rem;border-radius:.5rem;overflow-x:auto;margin:.5rem 0}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;font-size:.9rem}
.facts dt{color:var(--quiet)} .facts dd{margin:0}
details{margin:1rem 0;border-top:1px solid var(--grid);padding-top:.6rem}
summary{cursor:pointer;font-weight:600} figure{margin:1rem 0}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
"""


def style() -> str:
    """All of it; for ``<style>``."""
    return THEME + CHART + _PAGE + _widths()


def _widths() -> str:
    """One picture is shown at a time."""
    wide, middle, narrow = (f".w{width}" for width in WIDTHS)
    return (
        f"{middle},{narrow}{{display:none}}"
        f"@media(max-width:900px){{{wide}{{display:none}}{middle}{{display:block}}}}"
        f"@media(max-width:560px){{body{{padding:1rem .8rem 3rem}}{middle}{{display:none}}{narrow}{{display:block}}"
        ".facts{grid-template-columns:1fr}.facts dd{margin-bottom:.4rem}"
        ".stacked thead{display:none}.stacked,.stacked tbody,.stacked tr,.stacked th{display:block;width:100%}"
        ".stacked th{border:0;padding-bottom:0}.stacked tr{border-bottom:1px solid var(--grid);padding-bottom:.4rem}"
        ".stacked td{display:inline-block;border:0;padding:.1rem 1rem .1rem 0}"
        ".stacked td::before{content:attr(data-label);display:block;font-size:.75rem;color:var(--quiet)}"
        ".keys{grid-template-columns:repeat(2,1fr)}th,td{padding-right:.8rem}}"
        f"@media print{{body{{max-width:none;padding:0;font-size:11pt}}{wide},{narrow}{{display:none}}"
        f"{middle}{{display:block;width:100%}}svg,tr,.keys div{{break-inside:avoid}}svg{{max-height:96vh}}"
        "*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}"
    )
