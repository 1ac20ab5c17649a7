"""Ray Serve over its REST interface: what runs in a region, how it gets there, and where its replicas are.

Ray itself is never imported here, so gateways and wardens stay small and don't depend on Ray's version.
"""
