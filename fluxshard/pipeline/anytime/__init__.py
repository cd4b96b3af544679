"""Answers by a deadline, whatever the network takes."""
