"""Running on Ray."""
