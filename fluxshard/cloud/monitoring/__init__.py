"""What operators see of a server: figures for Prometheus and events as log lines."""
