"""The server: one session per stream, on orders of the edge."""
