"""Statistics of returns and trades: pure NumPy, knowing nothing of files, bars or strategies."""
