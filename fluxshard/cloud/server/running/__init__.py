"""What runs a stream's frames on the server: by order of the edge, or as the server itself plans."""
