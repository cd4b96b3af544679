"""What traces are worth: against annotations, and against the dense network."""
