"""One role of a region on a machine of its own, in the foreground: what `atoll node ROLE` runs under systemd."""
