"""A stream in two places: what each endpoint has cached, and how one does what the other decides."""
