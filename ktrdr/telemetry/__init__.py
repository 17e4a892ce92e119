"""What the laboratory says about itself: logs, later traces and metrics."""
