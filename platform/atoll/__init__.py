"""Atoll: a stateless HTTP service in many regions, run as if it were one."""

__version__ = "0.1.0"
