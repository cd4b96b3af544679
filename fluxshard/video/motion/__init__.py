"""Motion fields from codec vectors or a fast encoder, per frame."""
