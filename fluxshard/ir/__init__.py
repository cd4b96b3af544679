"""Intermediate representation shared by passes, code generation and the runtime; free of torch."""
