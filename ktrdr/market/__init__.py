"""Bars: their clocks, sessions, costs and snapshots, and the door through which they come in."""
