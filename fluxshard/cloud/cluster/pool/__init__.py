"""Where workers come from: plain processes, or actors of Ray."""
