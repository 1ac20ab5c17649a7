"""Users around the world: who comes when, from where, by which way, and what they do."""
