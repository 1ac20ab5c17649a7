"""The layers of the stack, outermost first: routing, failover, region, then the own one or another."""
