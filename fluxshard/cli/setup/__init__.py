"""Commands that make a machine ready: certificates, tokens, and what is missing."""
