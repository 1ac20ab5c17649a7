"""Linearizable registers: CASPaxos over the regions' state stores, or etcd for those who run one.

Each key is a register of its own, with its own ballots: no leader, no log, no window without a leader. (Denis Rystsov,
"CASPaxos: Replicated State Machines without logs", arXiv:1802.07000, 2018.)
"""
