"""The network between cells on one machine: relays that delay, throttle, cut and lose connections."""
