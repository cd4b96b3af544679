"""What happens to a frame: displacement fields, recompute sets, slot maps, engines and sessions."""
