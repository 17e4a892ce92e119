"""The research loop: designs, gates, memory, the cycle that joins them."""
