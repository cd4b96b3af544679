"""Streams in two places without a network: a transport with faults, small models, and replays. Needs `cloud`."""
