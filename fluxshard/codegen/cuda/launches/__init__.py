"""From a plan to launches: memory, kernels and their arguments, and the order of a frame."""
