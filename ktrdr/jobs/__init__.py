"""Domain functions as operations: each runs in a child process of its worker."""
