"""What may come in the way of a fault."""


class FaultImpossible(Exception):
    """A fault can't be put on now; says why, and what to do."""
