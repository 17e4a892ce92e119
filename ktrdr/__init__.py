"""ktrdr: an autonomous laboratory for neuro-fuzzy trading strategies."""

__version__ = "0.1.0"
