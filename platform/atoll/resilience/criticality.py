"""How much a request matters when not all can be served."""

from enum import IntEnum


class Criticality(IntEnum):
    """From what is shed first to what is shed last; the words of ``Atoll-Criticality``."""

    SHEDDABLE = 0
    DEFAULT = 1
    CRITICAL = 2


CRITICALITIES = {criticality.name.lower().encode(): criticality for criticality in Criticality}
"""By the header's value."""
