"""What runs in an edge process: a slowed network, a stream of a method, and the frames that it is given."""
