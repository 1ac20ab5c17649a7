"""The gateway beside Envoy, HAProxy, a FastAPI proxy and bare Ray Serve: ``python -m loadtests.bench``.

wrk.py, openloop.py        who asks: as fast as it is answered, or at a fixed rate
peers/                     who is asked, a file each, and the upstream that all of them pass requests on to
rounds.py                  one after the other, round after round, so that the machine's moods hit all alike
layers.py                  what each layer of the stack costs, without sockets
faults.py                  one replica or one region slow: who notices
figures.py                 medians, ratios, verdicts
report.py, plot.py         for people: a table and a page;  for programs: ``build/bench/gateway.json``
"""
