"""What the passes share: edits, annotations, names, parameters, islands, counts."""
