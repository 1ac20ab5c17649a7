"""Checkout: a purchase happens once, or not at all, whatever fails on the way."""
