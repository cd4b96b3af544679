"""What may be reused: displacement of every grid, slot maps, comparisons, the receptive-field check, the canvas."""
