"""Indicators: one number per bar, from bars up to and including it, computed by TA-Lib."""
