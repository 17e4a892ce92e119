"""Statistics of returns and trades: functions of arrays, knowing nothing of files, bars or strategies."""
