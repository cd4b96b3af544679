"""A picture that stands still, and a cut: what the paper's section V-G says of motion's ends, replayed."""
