"""Fuzzy sets: to what degree a value belongs to a named region of an indicator."""
