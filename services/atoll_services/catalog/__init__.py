"""Catalog: find postcards, one for each city."""
