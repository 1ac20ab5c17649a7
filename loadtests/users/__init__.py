"""Users all over the world, on locust: where they are, how they reach Atoll, what they do, when they come."""
