"""Islands as generated C++: torch ops on tensors of known sizes become loops in the program of a step."""
