"""Inventory: how many postcards there are, and who has reserved some of them."""
