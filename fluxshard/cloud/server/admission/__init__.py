"""Which streams a server takes: what callers say first, and whose a stream is."""
