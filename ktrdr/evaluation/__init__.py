"""What may be believed: the trial ledger, and later the verdict and the vault."""
