"""The strategy file: what a strategy is, the one validator, and the folder that keeps them."""
