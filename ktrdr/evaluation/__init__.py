"""What may be believed: the trial ledger and the verdict."""
