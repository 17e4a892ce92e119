"""The HTTP API: endpoints over use-cases, and the one place that turns errors into answers."""
