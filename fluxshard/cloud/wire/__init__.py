"""Encodings of what an edge sends: motion, masks and pixels. Everything that is decoded may come from anyone.

Sizes are known to both sides before a byte is read, from the size of the image; a decoder allocates no more than that,
and says of anything else that it is damaged.
"""
