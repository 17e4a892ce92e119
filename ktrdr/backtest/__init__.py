"""Probabilities, bars and rules in; trades, equity and honest figures out."""
