"""Speaking with a language model: what may be slow to import, loaded by a worker when the first agent needs it."""
