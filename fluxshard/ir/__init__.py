"""The intermediate representation that passes, code generation and the runtime share. No torch."""
