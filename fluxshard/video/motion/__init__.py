"""Where motion comes from, and how it is brought to the cells of the network's image."""
