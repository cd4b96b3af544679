"""What an edge sends of a frame."""
