"""The joins: pure functions that are commutative, associative and idempotent.

(Shapiro et al., "Conflict-free replicated data types", 2011.)
"""
