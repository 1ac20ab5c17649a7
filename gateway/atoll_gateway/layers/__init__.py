"""The layers of the stack, outermost first: routing, retry, region, then the own one or another."""
