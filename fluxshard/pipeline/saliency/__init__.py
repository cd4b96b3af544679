"""Regions for planned reuse from a network's own outputs, where nobody knows what the outputs mean."""
