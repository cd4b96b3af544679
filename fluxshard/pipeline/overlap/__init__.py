"""Runs whose stages overlap: while a frame runs, later ones are decoded and earlier ones drawn and written."""
