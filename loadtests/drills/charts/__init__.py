"""A drill as pictures: stacked plots over one time axis, and capacity.

    data      what is drawn
    frame     the time axis that all plots share
    panel     what every plot has: a title, a legend, ticks
    traffic   answers by region
    latency   p50 and p99
    errors    failed requests by kind
    replicas  those that run, and those that are wanted
    busy      the processor
    lanes     what happened, in words that never lie over each other
    timeline  all of them on top of each other
    capacity  latency against rate
    style     what it all looks like

Everything is pure: values in, SVG out.
"""

from loadtests.drills.charts.capacity import Curve, CurvePoint, capacity
from loadtests.drills.charts.timeline import timeline

__all__ = ["Curve", "CurvePoint", "capacity", "timeline"]
