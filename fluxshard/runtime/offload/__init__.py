"""Offloading: predicted latency, the uplink's rate, and which endpoint answers a frame. No sockets here."""
