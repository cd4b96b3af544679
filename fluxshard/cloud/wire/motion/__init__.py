"""Motion as bytes: fields of the image, and of levels that move on their own."""
