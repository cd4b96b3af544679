"""Measured tiles of convolutions, in the place of those of the rule."""
