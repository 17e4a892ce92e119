"""From bars and a strategy to a trained model, out-of-sample predictions and a report."""
