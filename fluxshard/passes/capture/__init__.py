"""From a model to an fx graph of ATen ops on the CPU."""
