"""What becomes of each ATen op in an island."""
