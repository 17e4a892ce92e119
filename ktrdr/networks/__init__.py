"""Small networks, many copies of one shape trained as a single stack on PyTorch."""
