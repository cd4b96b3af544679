"""The link to a server, and what goes over it."""
