"""How often the laboratory calls luck an edge, and how often it sees a real one: `python -m benchmarks.honesty`."""
