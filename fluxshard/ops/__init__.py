"""Semantics of the ops of a Plan, in eager torch."""
