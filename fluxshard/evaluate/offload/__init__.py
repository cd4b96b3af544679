"""Replays of dispatch over recorded links: policies against each other and against an oracle, without a network."""
