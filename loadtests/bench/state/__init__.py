"""What replicated state costs beside bare Valkey commands, how soon other regions have it, what strong changes take.

operations   writes and reads beside SET, GET and HGET, round after round, on one store
memory       what a key occupies, beside a bare string or hash
replication  throughput, and lag under a steady load, over links with latency
strong       changes and reads of strong registers, counted in round trips
"""
