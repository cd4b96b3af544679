"""H.264: packets in Annex B, a decoder of one packet at a time, and an encoder whose pictures are decoded again."""
