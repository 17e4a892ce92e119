"""Wire shapes: what the HTTP API takes and answers, and nothing about how."""
