"""Helpers of the passes: graph edits, annotations, names, parameters, reference calls, islands, MACs."""
