"""The hypotheses that the offline designer draws from, by family."""
