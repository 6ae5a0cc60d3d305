"""The drawn landmarks of `make demo`."""
