"""A drill's report as one HTML file that needs nothing else: no network, no script.

    whole       the page from top to bottom
    head        verdict, what happened, key figures, expectations
    view        from the document to what is drawn
    ways        users behind the entry and users that follow DNS, told apart
    tables      everything as tables, which also stand in for the picture
    comparison  beside an earlier run
    words       faults, figures and units as people say them
    style       what it looks like: light, dark, on paper, on a narrow screen

Everything is pure: a document in, text out.
"""

from loadtests.drills.page.whole import page

__all__ = ["page"]
