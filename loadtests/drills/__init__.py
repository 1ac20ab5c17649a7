"""Drills: rehearsed faults under load, each with a verdict."""
