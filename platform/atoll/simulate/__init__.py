"""The production cores on a virtual clock, under seeded faults: thousands of scenarios in minutes.

>>> record = simulate(generate(7, world), seed=7)
>>> check(scenario, record)
[]
"""
