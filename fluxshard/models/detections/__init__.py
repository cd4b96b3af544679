"""What a detector found: decoding, suppression, regions, agreement and pictures."""
