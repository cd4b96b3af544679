"""gRPC: the client's and the server's end of a stream, who calls, and how a refusal travels."""
