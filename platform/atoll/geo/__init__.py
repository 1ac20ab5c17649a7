"""Geography: places and distances, client address -> place, and the round trip that a distance stands for."""
