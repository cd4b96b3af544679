"""Frames that are not computed: the last result is moved to where its objects are now."""
