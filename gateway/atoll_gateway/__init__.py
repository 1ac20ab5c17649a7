"""Atoll's gateway: takes client requests in a region, or as the entry, and has the best region answer them."""
