"""recserve puts trained recommendation models online."""
