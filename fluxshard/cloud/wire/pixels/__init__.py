"""Codings of flagged pixels: what the payloads are made of."""
