"""Clips to evaluate on, and masks."""
