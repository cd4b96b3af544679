"""The edge: a link to a server that comes back by itself, and a session that runs in two places."""
