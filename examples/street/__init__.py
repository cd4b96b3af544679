"""A street that is drawn, a network trained on it, and the demo that runs that network incrementally."""
