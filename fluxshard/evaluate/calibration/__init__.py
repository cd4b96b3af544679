"""The search for the thresholds of least work at a budget of accuracy."""
