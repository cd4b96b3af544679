"""Rewrites that leave one form for each op."""
