"""Reuse of features along motion: displacement, slot maps, comparisons, the receptive-field check, the canvas."""
