"""Engines: the protocol, and one implementation for each backend."""
