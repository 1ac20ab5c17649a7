"""Capacity: the highest rate at which a deployment keeps its objectives, and what latency is on the way there."""
