"""Ray Train: the workers, what they read, and how they are validated."""
