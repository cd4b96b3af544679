"""Which worker owns a stream, as plain state: no clocks, no network, no processes."""
