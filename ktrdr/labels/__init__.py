"""Labels: training targets, which may see the future and never enter features."""
