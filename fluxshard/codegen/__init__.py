"""Generated code: text, compilers, pointers and sizes; no torch."""
