"""report.html: one self-contained page about a strategy, from the files beside it."""
