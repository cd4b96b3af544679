"""Edge and cloud: what travels between them. Needs the extra `cloud`."""
