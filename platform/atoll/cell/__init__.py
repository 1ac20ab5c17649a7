"""Regions on one machine: the supervisor of a run, a warden a region, their ports, stores, processes and faults."""
