"""Features: the columns that the network sees, at bar t from bars up to and including t."""
