"""Every figure of a drill, from its record alone. Pure."""

from loadtests.drills.figures.collect import Exposure, Figures, PhaseFigures, Settling, figures
from loadtests.drills.figures.flat import flatten, value
from loadtests.drills.figures.phases import Phase
from loadtests.drills.figures.settling import NEVER
from loadtests.drills.figures.table import TABLE, Figure, find, near

__all__ = [
    "NEVER",
    "TABLE",
    "Exposure",
    "Figure",
    "Figures",
    "Phase",
    "PhaseFigures",
    "Settling",
    "figures",
    "find",
    "flatten",
    "near",
    "value",
]
