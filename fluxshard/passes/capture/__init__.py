"""Captures a model as an fx graph of ATen ops on the CPU."""
