"""Links of a known rate, delay, queue and loss between an edge and a server on one machine."""
