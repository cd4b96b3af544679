"""Passes that rewrite a captured graph in the vocabulary of `ops/table.py`: one overload per op, maps in NCHW."""
