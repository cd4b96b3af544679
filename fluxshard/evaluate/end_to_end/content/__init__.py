"""What clips give to a replay: work and bytes of every method, and how well it answers."""
