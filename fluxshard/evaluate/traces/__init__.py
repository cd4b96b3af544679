"""Traces of methods on clips, and the worker processes that make them."""
