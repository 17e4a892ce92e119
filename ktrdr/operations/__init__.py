"""Durable work: create, list, watch and cancel operations. Knows nothing of trading."""
