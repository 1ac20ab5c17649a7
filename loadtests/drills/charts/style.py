"""What each class of a picture looks like; its colours are those of `atoll.picture.theme`."""

CHART = """
svg{display:block;height:auto;width:100%;font-family:system-ui,sans-serif}
svg text{fill:var(--ink)} svg text.quiet{fill:var(--quiet)} svg text.bad{fill:var(--bad)}
.grid{stroke:var(--grid)} .shade{fill:var(--shade)}
.fault-line{stroke:var(--bad);stroke-dasharray:5 3} .heal-line{stroke:var(--good);stroke-dasharray:5 3}
.layer{stroke:var(--ground);stroke-width:.7}
.p99,.p50{fill:none;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.p99{stroke:var(--bad)} .p50{stroke:var(--line)}
.phase{stroke:var(--quiet);stroke-dasharray:2 3}
.soft{fill-opacity:.35} .running{fill:none;stroke:var(--ink);stroke-width:1.6}
.wanted{fill:none;stroke:var(--quiet);stroke-width:1.4;stroke-dasharray:4 3}
.busy{fill:var(--quiet);fill-opacity:.4} .limit{stroke:var(--warn);stroke-width:1.4;stroke-dasharray:6 3}
.fault-sign{fill:var(--bad)} .heal-sign{fill:var(--good)} .alert-sign{fill:var(--warn)}
.decision-sign{fill:var(--line)} .figure-sign{fill:var(--ink)}
.column{fill:transparent} .column:hover{fill:var(--ink);fill-opacity:.08}
.curve{fill:none;stroke-width:2;stroke-linejoin:round}
"""
