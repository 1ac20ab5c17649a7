"""Strong registers on a virtual clock under seeded faults, and the checker that judges their histories."""
